/* The start of the child, and what it reports until it has become the container's process. */
#ifndef RUNX_PID1_START_H
#define RUNX_PID1_START_H

#include <stdbool.h>

#include "child/process.h"

/* Forks the child and opens its streams and its log. */
void start_child(struct process *process);
/* At the end: see write_back. */
void start_write_back(bool stuck);
/* The descriptor for poll(2); -1 when the child has reported all. */
int start_fd(void);
/* Reads a report: the process has started, or the guest ends. */
void start_take_report(void);

#endif
