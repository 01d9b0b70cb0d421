/* What the kernel says of processes that it ended because memory was short: the reason for a status of 137 that nobody sent. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

enum { SHOWN = 8 /* lines: a loop that is killed time and again fills no log */ };

static int kernel_log = -1;

void kernel_log_open(void)
{
    kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (kernel_log >= 0)
        lseek(kernel_log, 0, SEEK_END);
}

void kernel_log_tell(void)
{
    char record[1024]; /* Documentation/ABI/testing/dev-kmsg: "level,number,time,flags;message\n" and what belongs to it */
    ssize_t length;
    int shown = 0;
    while (kernel_log >= 0 && shown < SHOWN &&
           ((length = read(kernel_log, record, sizeof record - 1)) > 0 || (length < 0 && errno == EPIPE))) {
        if (length < 0)
            continue; /* lines were overwritten before we came to them */
        record[length] = '\0';
        char *message = strchr(record, ';');
        if (!message || !strstr(message, "ut of memory: Killed process"))
            continue; /* with an "O" by the machine's size, with an "o" by a control group's limit */
        message[1 + strcspn(message + 1, "\n")] = '\0';
        log_warn("kernel: %s\n", message + 1);
        shown++;
    }
}
