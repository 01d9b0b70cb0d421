/* The ways in which a guest ends. All of them power the machine off. */
#ifndef RUNX_PID1_END_H
#define RUNX_PID1_END_H

#include <stddef.h>

#include "pid1/frames.h"

enum {
    /* How long to wait for processes that SIGKILL does not end, because they are stuck in the kernel. */
    STUCK_MS = 10 * 1000,
    /* The same after a KILL of the host, which gives the guest 8 s in all (kill.end_timeout of runx.toml(5)). */
    KILLED_STUCK_MS = 3 * 1000,
    /* How long after a KILL the host hears of it, if the process has not ended before. The host waits for 1 s. */
    ANSWER_MS = 250,
    /* How long after a KILL to wait for a reader of the output, once the file systems are written. */
    READER_MS = 1000,
    /* How often to look for room in the console. poll(2) may miss that there is room. */
    RETRY_MS = 50,
};

_Noreturn void power_off(void);
/* Sends the last frame, and powers off when the console has taken it. */
_Noreturn void finish(enum frame_type type, const void *payload, size_t length);
/* Kills everything and powers off: the console is gone, so there is no host to run for. */
_Noreturn void hang_up(void);
/* Kills everything and finishes with FATAL: the container ends with this exit status and reason. */
_Noreturn void fatal(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sends SIGKILL to every process but PID 1. */
void kill_everything(void);

#endif
