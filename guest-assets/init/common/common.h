/* What more than one room needs. */
#ifndef RUNX_COMMON_COMMON_H
#define RUNX_COMMON_COMMON_H

/* The mount point at which the child assembles the container's root. */
#define NEWROOT "/newroot"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* The container's exit status when its process never ran (docs/console-link.md, FATAL). */
enum { STATUS_SETUP_FAILED = 125, STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 };

#endif
