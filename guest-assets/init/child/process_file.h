/* Reads /runx/process. */
#ifndef RUNX_CHILD_PROCESS_FILE_H
#define RUNX_CHILD_PROCESS_FILE_H

#include "child/process.h"

/* Reads the file at PATH into PROCESS. Returns NULL, or a message about the first fault. */
const char *process_file_read(const char *path, struct process *process);
/* The same for the SIZE bytes of TEXT, which has a NUL after them, but without a filter. PROCESS points into TEXT. */
const char *process_file_parse(char *text, size_t size, struct process *process);

#endif
