/* The text of an errno. */
#ifndef RUNX_COMMON_ERROR_TEXT_H
#define RUNX_COMMON_ERROR_TEXT_H

/* strerror(3) with a small first letter: callers of OCI runtimes look for "no such file or directory".
 * The next call overwrites the text. */
const char *reason(int error);

#endif
