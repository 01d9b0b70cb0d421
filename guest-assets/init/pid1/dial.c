#include "pid1/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int begin(unsigned port, bool by_ipv6)
{
    struct sockaddr_in ipv4 = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 ipv6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const void *address = by_ipv6 ? (const void *)&ipv6 : (const void *)&ipv4;
    int fd = socket(by_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, address, by_ipv6 ? sizeof ipv6 : sizeof ipv4) == 0 || errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* The other address, after one has failed with ERROR. What the first one gave is told: there may be no IPv6. */
static enum dial_news go_on(struct dial *d, int error)
{
    if (!d->by_ipv6) {
        d->by_ipv6 = true;
        d->fd = begin(d->port, true);
        if (d->fd >= 0)
            return DIAL_GOES_ON;
    }
    errno = error;
    return DIAL_FAILED;
}

enum dial_news dial_begin(struct dial *d, unsigned port)
{
    *d = (struct dial){.port = port, .fd = begin(port, false)};
    return d->fd < 0 ? go_on(d, errno) : DIAL_GOES_ON;
}

enum dial_news dial_proceed(struct dial *d, struct streams *streams)
{
    int error = 0, fd = d->fd;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error) {
        dial_close(d);
        return go_on(d, error);
    }
    d->fd = -1;
    if (streams_of_connection(streams, fd))
        return DIAL_DONE;
    return DIAL_FAILED;
}

void dial_close(struct dial *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}
