/* The container's log: the output of the scripts, and warnings of PID 1, as LOG frames. */
#ifndef RUNX_PID1_LOG_H
#define RUNX_PID1_LOG_H

#include <stddef.h>

/* Sets the pipe from which the output of the set-up and the network script comes. */
void log_open(int scripts);
/* The descriptor for poll(2); -1 when the output has ended. */
int log_fd(void);
/* Reads and sends the output, as long as the link has room. */
void log_relay(void);
/* Sends a warning, unless the link has no room. FORMAT ends with a newline. */
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The last whole lines of the output, without the last newline. */
const char *log_tail(size_t *length);

#endif
