/* Small files of the kernel: one read(2) or write(2) each. */
#ifndef RUNX_COMMON_FILE_H
#define RUNX_COMMON_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads at most SIZE - 1 bytes of the file at PATH into TEXT and ends them with NUL. Returns false with errno. */
bool read_file(const char *path, char *text, size_t size);
/* Writes the whole TEXT to the file at PATH. Returns false with errno. */
bool write_file(const char *path, const char *text);

#endif
