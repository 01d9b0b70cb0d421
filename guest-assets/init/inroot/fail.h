/* How inroot fails: one line on standard error, `inroot: COMMAND DEST: reason`, and exit status 1. */
#ifndef RUNX_INROOT_FAIL_H
#define RUNX_INROOT_FAIL_H

/* Names the command and its DEST for fail(). */
void fail_in(const char *command, const char *dest);
/* Prints the line and ends the program. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
