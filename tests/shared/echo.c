/* An echo server at 127.0.0.1 alone: echo PORT. At the byte 0xff it resets the connection. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int peer)
{
    static char data[65536];
    ssize_t length, at;
    while ((length = read(peer, data, sizeof data)) > 0) {
        if (length == 1 && data[0] == (char)0xff) {
            setsockopt(peer, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
            return;
        }
        for (at = 0; at < length;) {
            ssize_t count = write(peer, data + at, (size_t)(length - at));
            if (count <= 0)
                return;
            at += count;
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), peer;
    if (argc != 2)
        return 2;
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    signal(SIGCHLD, SIG_IGN);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0) {
        perror("echo");
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    while ((peer = accept(fd, NULL, NULL)) >= 0) {
        if (!fork()) {
            close(fd);
            serve(peer);
            _exit(0);
        }
        close(peer);
    }
    return 1;
}
