#include "common/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/common.h"

_Noreturn void leave(int status)
{
    syscall(SYS_exit_group, status);
    syscall(SYS_exit, status);
    __builtin_trap(); /* a signal that no filter denies, and that ends a PID 1 too */
}

void report_failure(int report, int status, const char *format, ...)
{
    char text[REPORT_MAX] = {REPORT_FAILED, (char)status};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text + 2, sizeof text - 2, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = 0;
    if ((size_t)length > sizeof text - 3)
        length = (int)sizeof text - 3;
    /* When PID 1 cannot be told, the exit status is all that is left. */
    leave(write(report, text, (size_t)length + 2) < 0 ? STATUS_SETUP_FAILED : status);
}
