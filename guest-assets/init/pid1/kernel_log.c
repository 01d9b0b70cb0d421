#include "pid1/kernel_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pid1/log.h"

enum { SHOWN_MAX = 8 /* lines, however many processes the kernel has ended */ };

static int kernel_log = -1;

void kernel_log_open(void)
{
    kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (kernel_log >= 0)
        lseek(kernel_log, 0, SEEK_END);
}

void kernel_log_tell(void)
{
    char record[1024]; /* "level,number,time,flags;message\n" and more lines (Documentation/ABI/testing/dev-kmsg) */
    ssize_t length;
    int shown = 0;
    while (kernel_log >= 0 && shown < SHOWN_MAX &&
           ((length = read(kernel_log, record, sizeof record - 1)) > 0 || (length < 0 && errno == EPIPE))) {
        if (length < 0)
            continue; /* EPIPE: the kernel has overwritten records that were not read */
        record[length] = '\0';
        char *message = strchr(record, ';');
        if (!message || !strstr(message, "ut of memory: Killed process"))
            continue; /* "Out of memory" in the whole machine, "Memory cgroup out of memory" in a cgroup */
        message[1 + strcspn(message + 1, "\n")] = '\0';
        log_warn("kernel: %s\n", message + 1);
        shown++;
    }
}
