/* Descriptors that go from one process to another over a socket. */
#ifndef RUNX_COMMON_DESCRIPTOR_H
#define RUNX_COMMON_DESCRIPTOR_H

#include <stdbool.h>

/* Sends FD. Returns false with errno. */
bool descriptor_send(int socket, int fd);
/* Takes a descriptor that has been sent, close-on-exec, and closes the socket. Returns -1 if there is none. */
int descriptor_receive(int socket);

#endif
