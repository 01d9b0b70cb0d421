/* Connections of TCP to servers of this machine, at its loopback addresses. */
#ifndef RUNX_PID1_DIAL_H
#define RUNX_PID1_DIAL_H

#include <stdbool.h>

#include "pid1/streams.h"

struct dial {
    int fd;        /* becomes writable when there is a connection, or none; -1: not under way */
    unsigned port; /* 0: there was no DIAL */
    bool by_ipv6;
};

enum dial_news { DIAL_DONE, DIAL_GOES_ON, DIAL_FAILED };

/* Begins to connect to PORT: to 127.0.0.1, and then to ::1. Returns DIAL_GOES_ON; or DIAL_FAILED with errno. */
enum dial_news dial_begin(struct dial *dial, unsigned port);
/* When the descriptor is ready: the connection becomes the input and output of STREAMS. DIAL_FAILED with errno. */
enum dial_news dial_proceed(struct dial *dial, struct streams *streams);
void dial_close(struct dial *dial);

#endif
