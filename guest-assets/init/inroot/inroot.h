/* Shared by the parts of inroot (docs/guest.md, "inroot"). */
#ifndef RUNX_INROOT_H
#define RUNX_INROOT_H

#include "init.h"

/* Ends the program with one line, `inroot: WHAT DEST: reason`. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* path.c */
enum missing { MISSING_FAILS, MISSING_IS_FILE, MISSING_IS_DIRECTORY };

/* Walks DEST inside the root and returns an O_PATH descriptor of what it names, mounts included. What is missing is
 * made, the last part as KIND says. With KEEP_LAST the last part is not opened but left in it, and the descriptor is
 * its parent's. Returns -1 with errno for what is missing when KIND is MISSING_FAILS; ends the program otherwise. */
int resolve(const char *dest, enum missing kind, char *keep_last);

/* copy.c: copies what is in the directory BELOW into the directory ABOVE, owners, modes and times too. */
void copy_up(int below, int above);

#endif
