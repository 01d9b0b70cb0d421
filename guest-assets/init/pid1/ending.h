/* The order in which the container ends (docs/console-link.md, "The end of a container"). */
#ifndef RUNX_PID1_ENDING_H
#define RUNX_PID1_ENDING_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Goes on with the end, if it has begun. Returns true when only EXIT is left to be sent. */
bool ending_proceed(void);
/* Whether it has been given up to wait for processes that SIGKILL does not end: their ends of pipes will not close. */
bool ending_is_stuck(void);
/* The exit status of the container, as the host was told. */
uint8_t ending_status(void);
/* Milliseconds since a time of CLOCK_MONOTONIC. */
long since_ms(const struct timespec *then);
/* Milliseconds after which `ending_proceed` has something to do that no event tells; -1: none. For poll(2). */
int ending_timeout(void);

#endif
