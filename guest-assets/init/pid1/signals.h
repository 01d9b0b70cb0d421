/* The child, as PID 1 sees it: signals to it, and its end. */
#ifndef RUNX_PID1_SIGNALS_H
#define RUNX_PID1_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

extern struct child {
    pid_t pid;
    bool started;          /* execve(2) has succeeded: it is the container's process now */
    bool ended;            /* it has ended and was waited for */
    bool any_left;         /* PID 1 has children, which may be the process */
    bool killed;           /* the host has sent SIGKILL since the start */
    struct timespec ended_at;
    struct timespec killed_at; /* when the first one came */
} child;

/* Blocks the signals that PID 1 takes from a descriptor. */
void signals_watch(void);
/* The descriptor for poll(2). */
int signals_fd(void);
/* Takes the signals that have come. */
void signals_take(void);
/* Sends the process a signal. Keeps it until the process has started. */
void deliver(int number);
/* Marks the process as started and sends the signals that deliver() has kept. */
void child_started(void);
/* Waits for all children that have ended. */
void reap(void);
/* Has TELL called with the pid and wait status of each other child that has ended. */
void reap_tells(void (*tell)(pid_t pid, int status));
/* The exit status that a wait status means; 128 + n for signal n. */
uint8_t status_of(int wait_status);
/* The exit status of the process; 128 + n for signal n. That of SIGKILL for a process that was killed and has not ended yet. */
uint8_t exit_status(void);

#endif
