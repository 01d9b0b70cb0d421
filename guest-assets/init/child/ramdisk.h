/* Commands that change what is outside of the container's root (docs/guest.md, "/runx/setup"). */
#ifndef RUNX_CHILD_RAMDISK_H
#define RUNX_CHILD_RAMDISK_H

#include "common/command.h"

/* The command with this name, or NULL. It fails by fail(). */
const struct command *ramdisk_command(const char *name);

#endif
