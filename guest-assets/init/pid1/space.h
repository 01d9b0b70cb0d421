/* Keeps what the layer's file system has free within what the host has free: docs/guest.md, "Space of the layer". */
#ifndef RUNX_PID1_SPACE_H
#define RUNX_PID1_SPACE_H

#include <stddef.h>

/* The disk of the layer; NULL: the container has none. */
void space_of(const char *device);
/* Takes a frame SPACE. */
void space_receive(const unsigned char *payload, size_t length);
/* Does what the last frame asks for, in a child of its own. To be called whenever a child may have ended, while the layer is
 * mounted. */
void space_follow(void);

#endif
