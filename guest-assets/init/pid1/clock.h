/* The guest's clock, which the host keeps at its own time: docs/console-link.md, "The clock". */
#ifndef RUNX_PID1_CLOCK_H
#define RUNX_PID1_CLOCK_H

#include <stddef.h>

/* The host may change the clock. Before that, its frames are not heeded. */
void clock_allow(void);
/* Tells the host the time. */
void clock_tell(void);
/* Takes a frame ADJUST_TIME. */
void clock_adjust(const unsigned char *payload, size_t length);

#endif
