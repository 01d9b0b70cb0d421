/* The child of PID 1 that becomes the container's process. */
#ifndef RUNX_CHILD_MAIN_H
#define RUNX_CHILD_MAIN_H

#include "child/process.h"

/* The ends of pipes that the child uses. */
struct child_pipes {
    int in, out, err; /* standard streams of the process; unused when it has a terminal */
    int log;          /* takes the output of the setup script */
    int report;       /* takes reports (common/report.h) */
    int terminal;     /* a socket that takes the terminal's master; -1: no terminal */
    int network;      /* gives a line when the network is up; -1: no network */
};

/* Runs the setup script, makes NEWROOT the root, applies PROCESS and executes it. */
_Noreturn void child_main(struct process *process, const struct child_pipes *pipes);

#endif
