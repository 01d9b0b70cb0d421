/* How a command fails: one line, `COMMAND SUBJECT: reason`, and the end of the process. */
#ifndef RUNX_INROOT_FAIL_H
#define RUNX_INROOT_FAIL_H

/* Names the command, and what it works on, for fail(). */
void fail_in(const char *command, const char *subject);
/* Has TELL say the line, without a newline. Must be called before a command runs. */
void fail_by(void (*tell)(const char *text));
/* Says the line and ends the process with exit status 1, if TELL has not ended it. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
