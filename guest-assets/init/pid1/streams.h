/* The standard streams of the process, within the windows of the link (docs/console-link.md, "Flow control"). */
#ifndef RUNX_PID1_STREAMS_H
#define RUNX_PID1_STREAMS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/* Sets PID 1's ends of the pipes for standard input, output and error. */
void streams_open(int in, int out, int err);
/* Or: announces that the streams will be a terminal, ... */
void streams_await_terminal(void);
/* ... and sets the terminal's master. */
void streams_open_terminal(int master);

/* Moves data as far as pipes and link have room. AT_END: takes an output that is empty now for closed. */
void streams_relay(bool at_end);
/* Whether both outputs have ended. */
bool streams_drained(void);
/* Acts on a frame from the host. Returns false when the frame is not for the streams. */
bool streams_take_frame(unsigned type, const unsigned char *payload, size_t length);
/* Fills in what to poll for; standard input comes first. */
void streams_poll(struct pollfd fds[3]);
/* The process has closed its standard input, or has ended. */
void streams_lose_input(void);

#endif
