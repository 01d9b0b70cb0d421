/* Names that the engine resolves in its network namespace on the host: a server for them in here, which hands every question
 * to the host and the answer back (docs/networking.md). */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init.h"

enum {
    PORT = 53,
    HEADER = 12, /* of a DNS message (RFC 1035); its first two bytes are the identifier */
    WAITING = 256,
};

/* A question that waits for its answer. On its way it has an identifier that says which of these it is. */
static struct question {
    struct sockaddr_in from;
    unsigned char identifier[2], given[2];
    bool waits;
} questions[WAITING];
static uint16_t asked;
static int server = -1;

void names_serve(const unsigned char *address, size_t length)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (server >= 0 || length != sizeof here.sin_addr)
        return;
    memcpy(&here.sin_addr, address, length);
    server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* The loopback interface may not be up yet; and a server of the container's own may have all other addresses. */
    setsockopt(server, IPPROTO_IP, IP_FREEBIND, &(int){1}, sizeof(int));
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (server < 0 || bind(server, (struct sockaddr *)&here, sizeof here) < 0) {
        log_warn("init: names of the engine's network: %s\n", reason(errno));
        if (server >= 0)
            close(server);
        server = -1;
    }
}

int names_fd(void)
{
    return server;
}

void names_relay(void)
{
    static unsigned char message[FRAME_PAYLOAD_MAX];
    while (server >= 0 && link_has_room()) {
        struct question *question = &questions[asked % WAITING];
        socklen_t size = sizeof question->from;
        /* MSG_TRUNC: the length it really had. What has no room in a frame is lost, as on any network. */
        ssize_t count = recvfrom(server, message, sizeof message, MSG_TRUNC, (struct sockaddr *)&question->from, &size);
        if (count < 0)
            return;
        question->waits = false; /* whatever had this place */
        if (count < HEADER || count > (ssize_t)sizeof message)
            continue;
        memcpy(question->identifier, message, 2);
        question->given[0] = message[0] = (unsigned char)(asked >> 8);
        question->given[1] = message[1] = (unsigned char)(asked & 0xff);
        question->waits = true;
        asked++;
        link_send(FRAME_QUESTION, message, (size_t)count);
    }
}

void names_answer(unsigned char *message, size_t length)
{
    if (server < 0 || length < HEADER)
        return;
    struct question *question = &questions[message[1] % WAITING];
    if (!question->waits || memcmp(question->given, message, 2))
        return; /* it came too late */
    question->waits = false;
    memcpy(message, question->identifier, 2);
    sendto(server, message, length, MSG_DONTWAIT, (struct sockaddr *)&question->from, sizeof question->from);
}
