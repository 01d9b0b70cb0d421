/* The end of a container whose layer the host is to have: what it wrote goes into its root filesystem on the host. */
#ifndef RUNX_PID1_WRITE_BACK_H
#define RUNX_PID1_WRITE_BACK_H

#include <stdbool.h>

/* Takes the directory with the container's changes from SOCKET, if the child has sent one. */
void write_back_take(int socket);
/* Writes the changes back, if there are any, and tells the host. STUCK: a process of the container is still there. */
void write_back(bool stuck);

#endif
