#include "applets/add_neighbour.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error_text.h"

enum { MAC_SIZE = 6 };

/* Of netlink(7) and rtnetlink(7): the kernel's headers have these, musl does not. */
enum { NLMSG_ERROR = 2, NLM_F_REQUEST = 1, NLM_F_ACK = 4, NLM_F_REPLACE = 0x100, NLM_F_CREATE = 0x400 };
enum { NETLINK_ROUTE = 0, RTM_NEWNEIGH = 28, NUD_PERMANENT = 0x80, NDA_DST = 1, NDA_LLADDR = 2, ALIGNED_TO = 4 };

struct head {
    uint32_t length;
    uint16_t type, flags;
    uint32_t sequence, port;
};

struct request {
    struct head head;
    uint8_t family, padding[3];
    int32_t interface;
    uint16_t state;
    uint8_t flags, kind;
    uint8_t attributes[64];
};

struct attribute {
    uint16_t length, type;
};

static void attach(struct request *request, uint16_t type, const void *data, size_t size)
{
    uint8_t *at = (uint8_t *)request + request->head.length;
    struct attribute attribute = {.length = (uint16_t)(sizeof attribute + size), .type = type};
    memcpy(at, &attribute, sizeof attribute);
    memcpy(at + sizeof attribute, data, size);
    request->head.length += (attribute.length + ALIGNED_TO - 1U) & ~(ALIGNED_TO - 1U);
}

static bool parse_mac(const char *text, uint8_t *mac)
{
    for (int at = 0; at < MAC_SIZE; at++) {
        char *end;
        unsigned long byte = strtoul(text, &end, 16);
        if (end != text + 2 || byte > UINT8_MAX || *end != (at < MAC_SIZE - 1 ? ':' : '\0'))
            return false;
        mac[at] = (uint8_t)byte;
        text = end + 1;
    }
    return true;
}

/* Sends the request to the kernel. Returns 0 or an errno. */
static int ask(const struct request *request)
{
    struct {
        struct head head;
        int32_t error; /* negative */
        struct request asked;
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t size = -1;
    if (fd >= 0 && send(fd, request, request->head.length, 0) >= 0)
        size = recv(fd, &answer, sizeof answer, 0);
    int error = size < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (error)
        return error;
    bool whole = size >= (ssize_t)(sizeof answer.head + sizeof answer.error);
    return whole && answer.head.type == NLMSG_ERROR ? -answer.error : EPROTO;
}

int add_neighbour_main(int argc, char **argv)
{
    uint8_t address[sizeof(struct in6_addr)], mac[MAC_SIZE];
    struct request request = {
        .head = {.length = offsetof(struct request, attributes),
                 .type = RTM_NEWNEIGH,
                 .flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE},
        .state = NUD_PERMANENT,
    };
    if (argc != 4) {
        fprintf(stderr, "usage: add-neighbour ADDRESS MAC INTERFACE\n");
        return 2;
    }
    bool six = strchr(argv[1], ':');
    int error = EINVAL;
    request.family = six ? AF_INET6 : AF_INET;
    if (inet_pton(request.family, argv[1], address) == 1 && parse_mac(argv[2], mac)) {
        attach(&request, NDA_DST, address, six ? sizeof(struct in6_addr) : sizeof(struct in_addr));
        attach(&request, NDA_LLADDR, mac, sizeof mac);
        request.interface = (int)if_nametoindex(argv[3]);
        error = request.interface ? ask(&request) : ENODEV;
    }
    if (error)
        fprintf(stderr, "add-neighbour %s %s %s: %s\n", argv[1], argv[2], argv[3], reason(error));
    return error ? 1 : 0;
}
