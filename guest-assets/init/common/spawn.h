/* What PID 1 and the child do before they execute a program. */
#ifndef RUNX_COMMON_SPAWN_H
#define RUNX_COMMON_SPAWN_H

#include <stdbool.h>

/* On this descriptor the shell of the network script writes a line when the network is up (docs/guest.md). */
enum { NETWORK_DESCRIPTOR = 3 };

/* The environment of the network script. */
extern char *const SCRIPT_ENVIRONMENT[];

/* Resets every signal to its default action and unblocks it: a program must not inherit what PID 1 ignores and blocks. */
void restore_signals(void);

/* Makes FD the descriptor NUMBER and inheritable. Returns false with errno. */
bool pass_descriptor(int fd, int number);

#endif
