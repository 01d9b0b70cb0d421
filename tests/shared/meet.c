/*
 * Two containers of a pod meet in a directory that both have.
 *
 * meet listen SOCKET FILE: appends each line that comes to a unix socket to a file. meet say SOCKET LINE: sends a line. meet map
 * FILE VALUE: writes a number to memory that it maps of a file, says so, and stays. meet read FILE: the number that is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, peer;
    char data[4096];
    ssize_t length;
    if (argc < 3)
        return 2;
    if (!strcmp(argv[1], "map") || !strcmp(argv[1], "read")) {
        fd = open(argv[2], O_RDWR | O_CREAT, 0666);
        if (fd < 0 || ftruncate(fd, 4096) < 0)
            return fail(argv[2]);
        volatile int *number = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (number == MAP_FAILED)
            return fail("mmap");
        if (argv[1][0] == 'r')
            return printf("%d\n", *number) < 0;
        *number = atoi(argv[3]);
        printf("mapped\n");
        fflush(stdout);
        pause();
    }
    strncpy(address.sun_path, argv[2], sizeof address.sun_path - 1);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (!strcmp(argv[1], "say"))
        return connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || dprintf(fd, "%s\n", argv[3]) < 0 ? fail("say") : 0;
    int out = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (out < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0)
        return fail("listen");
    printf("ready\n");
    fflush(stdout);
    while ((peer = accept(fd, NULL, NULL)) >= 0) {
        while ((length = read(peer, data, sizeof data)) > 0)
            if (write(out, data, (size_t)length) != length)
                return fail("write");
        close(peer);
    }
    return fail("accept");
}
