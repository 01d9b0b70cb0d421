#include "pid1/end.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "pid1/kernel_log.h"
#include "pid1/link.h"

void power_off(void)
{
    reboot(RB_POWER_OFF);
    /* The power off has failed. The kernel panics when PID 1 ends, and the host sees a dead domain as well. */
    _exit(1);
}

/* Waits up to TIMEOUT_MS for room on the console, and flushes. */
static bool flush_for(int timeout_ms)
{
    struct pollfd console = {.fd = link_fd(), .events = POLLOUT};
    poll(&console, 1, timeout_ms);
    return link_flush();
}

void finish(enum frame_type type, const void *payload, size_t length)
{
    while (!link_is_empty() && flush_for(RETRY_MS))
        ;
    kernel_log_tell();
    link_send(type, payload, length);
    while (!link_is_empty() && flush_for(RETRY_MS))
        ;
    tcdrain(link_fd());
    power_off();
}

void kill_everything(void)
{
    kill(-1, SIGKILL); /* also the processes in PID namespaces below this one */
}

void hang_up(void)
{
    kill_everything();
    for (int waited = 0; waited < STUCK_MS; waited += RETRY_MS) {
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    }
    sync();
    power_off();
}

void fatal(int status, const char *format, ...)
{
    char text[FRAME_PAYLOAD_MAX] = {(char)status};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text + 1, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = 0;
    if ((size_t)length > sizeof text - 2)
        length = (int)sizeof text - 2;
    kill_everything();
    sync();
    finish(FRAME_FATAL, text, (size_t)length + 1);
}
