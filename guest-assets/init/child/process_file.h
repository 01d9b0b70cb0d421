/* Reads /runx/process. */
#ifndef RUNX_CHILD_PROCESS_FILE_H
#define RUNX_CHILD_PROCESS_FILE_H

#include "child/process.h"

/* Reads the file at PATH into PROCESS. Returns NULL, or a message about the first fault. */
const char *process_file_read(const char *path, struct process *process);

#endif
