/* Further processes of the container, which the host starts: docs/console-link.md, "Sessions". */
#ifndef RUNX_PID1_SESSIONS_H
#define RUNX_PID1_SESSIONS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "child/process.h"
#include "pid1/frames.h"

enum { SESSION_POLLS = 4 /* descriptors of a session */, SESSIONS_POLLS = SESSIONS_MOST * SESSION_POLLS };

/* Accepts sessions from now on. No process of one may do more than CONTAINER, the container's own. */
void sessions_allow(const struct process *container);
/* Acts on a frame of a session from the host. */
void sessions_take_frame(unsigned session, unsigned type, const unsigned char *payload, size_t length);
/* Moves the data of all sessions, and tells the host of those that have ended. */
void sessions_relay(void);
/* Fills in what to poll for; how many descriptors that is. */
size_t sessions_poll(struct pollfd fds[SESSIONS_POLLS]);
/* Acts on what poll(2) said of the COUNT descriptors. */
void sessions_handle(const struct pollfd *fds, size_t count);
/* Whether a session has ended and waits for nothing but its turn, which no descriptor shows. */
bool sessions_are_due(void);

#endif
