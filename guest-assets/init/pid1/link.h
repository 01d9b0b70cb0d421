/* The guest's end of the console link: frames and queues. It does not know what the frames mean. */
#ifndef RUNX_PID1_LINK_H
#define RUNX_PID1_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pid1/frames.h"

/* Opens the console DEVICE, raw and non-blocking; waits up to a minute for its backend. Returns -1 with errno. */
int link_open(const char *device);
/* The descriptor and the events for poll(2). */
int link_fd(void);
short link_events(void);

/* Whether the queue has room for one full frame of data. Control frames always have room beside it. */
bool link_has_room(void);
/* Whether the queue is short, so that it is time to read more data. Data is read in batches, which saves system calls. */
bool link_is_low(void);
bool link_is_empty(void);

/* Accepts frames of the sessions 1 to SESSIONS_MOST from the host, too. */
void link_allow_sessions(void);

/* Queues a frame; KIND is its type, or of frame_of(). Drops a frame that has no room as a whole: that is a fault of the caller. */
void link_send(unsigned kind, const void *payload, size_t length);
/* Reads at most LIMIT bytes from FD into a new frame. Returns what read(2) returns; queues nothing for 0 and errors. */
ssize_t link_send_from(unsigned kind, int fd, size_t limit);

/* Writes queued bytes to the console. Returns false when the console is gone. */
bool link_flush(void);
/* Reads from the console and calls HANDLE for each frame, with its kind. Returns false when the console is gone or sends no frames. */
bool link_receive(void (*handle)(unsigned kind, unsigned char *payload, size_t length));

#endif
