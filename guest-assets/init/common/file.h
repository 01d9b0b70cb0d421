/* Files of the ramdisk, and small files of the kernel. */
#ifndef RUNX_COMMON_FILE_H
#define RUNX_COMMON_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads by one read(2) at most SIZE - 1 bytes of the file at PATH into TEXT and ends them with NUL. Returns false with errno. */
bool read_file(const char *path, char *text, size_t size);
/* Writes the whole TEXT to the file at PATH by one write(2). Returns false with errno. */
bool write_file(const char *path, const char *text);
/* The whole file, with a NUL after it; SIZE is without that. Nobody frees it. Returns NULL with errno. */
char *read_whole(const char *path, size_t *size);

#endif
