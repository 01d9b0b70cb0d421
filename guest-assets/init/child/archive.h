/* Archives in the "newc" format of cpio (Linux, driver-api/early-userspace/buffer-format.rst), one behind the other: the files of a
 * container that joins the machine of its pod, which the host sends. */
#ifndef RUNX_CHILD_ARCHIVE_H
#define RUNX_CHILD_ARCHIVE_H

#include <stddef.h>
#include <sys/types.h>

struct entry {
    const char *name; /* relative */
    mode_t mode;      /* with the type of the file */
    uid_t uid;
    gid_t gid;
    char *content; /* SIZE bytes, without a NUL behind them */
    size_t size;
};

/* Has TAKE handle each entry of the SIZE bytes at DATA, with CONTEXT. Returns NULL, or what is wrong: the first fault that TAKE
 * returns, or its own. */
const char *archive_read(char *data, size_t size, const char *(*take)(const struct entry *entry, void *context), void *context);

/* Makes the files, directories and symbolic links of an archive below /runx, where they must be. Returns NULL, or what is wrong. */
const char *archive_unpack(char *data, size_t size);

/* The content of the last entry NAME, and its SIZE; NULL if there is none. */
char *archive_find(char *data, size_t archive_size, const char *name, size_t *size);

#endif
