#include "common/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/common.h"

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
    _exit(write(report, text, (size_t)length + 2) < 0 ? STATUS_SETUP_FAILED : status);
}
