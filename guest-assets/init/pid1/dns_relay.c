#include "pid1/dns_relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error_text.h"
#include "pid1/link.h"
#include "pid1/log.h"

enum { PORT = 53, WAITING_MAX = 256 };

/* A question that waits for its answer. Its identifier, the first two bytes of a DNS message, is replaced on the way to the
 * host by the number of the question. That number modulo WAITING_MAX is the index in this array. */
static struct question {
    struct sockaddr_in from;
    unsigned char identifier[2], replaced_by[2];
    bool waits;
} questions[WAITING_MAX];
static uint16_t asked; /* questions so far */
static int server = -1;

void dns_serve(const unsigned char *address, size_t length)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (server >= 0 || length != sizeof here.sin_addr)
        return;
    memcpy(&here.sin_addr, address, length);
    server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* IP_FREEBIND: the loopback interface may be down. SO_REUSEADDR: the container may have a server at all other addresses. */
    setsockopt(server, IPPROTO_IP, IP_FREEBIND, &(int){1}, sizeof(int));
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (server < 0 || bind(server, (struct sockaddr *)&here, sizeof here) < 0) {
        log_warn("init: DNS server for the engine's names: %s\n", reason(errno));
        if (server >= 0)
            close(server);
        server = -1;
    }
}

int dns_fd(void)
{
    return server;
}

void dns_relay(void)
{
    static unsigned char message[FRAME_PAYLOAD_MAX];
    while (server >= 0 && link_has_room()) {
        struct question *question = &questions[asked % WAITING_MAX];
        socklen_t size = sizeof question->from;
        /* MSG_TRUNC: COUNT is the real length. A question that has no room in a frame is dropped. */
        ssize_t count = recvfrom(server, message, sizeof message, MSG_TRUNC, (struct sockaddr *)&question->from, &size);
        if (count < 0)
            return;
        question->waits = false; /* the oldest question loses its place */
        if (count < DNS_HEADER || count > (ssize_t)sizeof message)
            continue;
        memcpy(question->identifier, message, 2);
        question->replaced_by[0] = message[0] = (unsigned char)(asked >> 8);
        question->replaced_by[1] = message[1] = (unsigned char)(asked & 0xff);
        question->waits = true;
        asked++;
        link_send(FRAME_QUESTION, message, (size_t)count);
    }
}

void dns_answer(unsigned char *message, size_t length)
{
    if (server < 0 || length < DNS_HEADER)
        return;
    struct question *question = &questions[message[1] % WAITING_MAX];
    if (!question->waits || memcmp(question->replaced_by, message, 2))
        return; /* too late, or to no question */
    question->waits = false;
    memcpy(message, question->identifier, 2);
    sendto(server, message, length, MSG_DONTWAIT, (struct sockaddr *)&question->from, sizeof question->from);
}
