/* Commands that change one thing in the container's root at NEWROOT (docs/guest.md, "/runx/setup"). */
#ifndef RUNX_INROOT_COMMANDS_H
#define RUNX_INROOT_COMMANDS_H

#include "common/command.h"

/* Where device nodes are that are bound into the root. */
#define NODES "/nodes"

/* The command with this name, or NULL. It fails by fail(), and makes files with the modes that it says if the umask is 0. */
const struct command *inroot_command(const char *name);

#endif
