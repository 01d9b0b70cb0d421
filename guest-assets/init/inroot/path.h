/* Paths inside the container's root. */
#ifndef RUNX_INROOT_PATH_H
#define RUNX_INROOT_PATH_H

/* What resolve() does when a part of the path does not exist. MISSING_IS_*: it makes directories, and the last part as named. */
enum missing { MISSING_FAILS, MISSING_IS_FILE, MISSING_IS_DIRECTORY };

/* Walks DEST inside the root, through symbolic links and mounts. Returns an O_PATH descriptor of the file it names.
 * With KEEP_LAST, of NAME_MAX + 1 bytes, copies the last part there and returns the descriptor of its parent instead.
 * Returns -1 with errno for a part that does not exist and MISSING_FAILS; every other failure ends the program. */
int resolve(const char *dest, enum missing kind, char *keep_last);

#endif
