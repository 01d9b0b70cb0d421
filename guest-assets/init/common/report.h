/* What the child tells PID 1 over a pipe until it has executed the container's process.
 *
 * A report is REPORT_FAILED, an exit status and a text; or REPORT_EXECUTING alone, just before execve(2). The pipe is
 * close-on-exec, so its end after REPORT_EXECUTING means that execve has succeeded. */
#ifndef RUNX_COMMON_REPORT_H
#define RUNX_COMMON_REPORT_H

/* REPORT_MAX is below PIPE_BUF: a report is written whole. */
enum { REPORT_FAILED = 'F', REPORT_EXECUTING = 'E', REPORT_MAX = 2048 };

/* Reports a failure and ends the child. An empty text means that the end of the log is the reason. */
_Noreturn void report_failure(int report, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As _exit(3), also below a seccomp filter that denies that: musl's would repeat the call for ever. */
_Noreturn void leave(int status);

#endif
