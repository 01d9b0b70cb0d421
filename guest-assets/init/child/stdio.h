/* The standard streams of a process of the container. */
#ifndef RUNX_CHILD_STDIO_H
#define RUNX_CHILD_STDIO_H

#include "child/pipes.h"
#include "child/process.h"

/* Reads which streams of the container's own process are the null device for the engine. Call it in the ramdisk's root. */
void stdio_prepare(int report);
/* Takes that from the record of a session's process. Call it in the ramdisk's root. */
void stdio_prepare_session(const struct process *p, int report);
/* Makes the pipes, or the null device, the standard streams. Call it in the container's root. */
void stdio_connect(const struct child_pipes *pipes, int report);
/* Gives the streams to the user of the process, who may then open /dev/stdin, /dev/stdout and /dev/stderr. */
void stdio_own(const struct process *p, int report);

#endif
