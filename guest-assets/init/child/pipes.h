/* What connects the child to PID 1. */
#ifndef RUNX_CHILD_PIPES_H
#define RUNX_CHILD_PIPES_H

/* The ends of pipes that the child uses. */
struct child_pipes {
    int in, out, err; /* standard streams of the process; unused when it has a terminal */
    int log;          /* takes what the set-up has to say */
    int report;       /* takes reports (common/report.h) */
    int terminal;     /* a socket that takes the terminal's master; -1: no terminal */
    int layer;        /* a socket that takes the directory with the container's changes, if the host is to have them */
    int network;      /* gives a line when the network is up; -1: no network */
};

#endif
