#include "common/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

char *const SCRIPT_ENVIRONMENT[] = {"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/", NULL};

void restore_signals(void)
{
    /* The C library refuses the signal numbers that it uses itself, and a test's starter may ignore those. */
    static const unsigned long by_default[8]; /* large enough for the kernel's struct sigaction */
    sigset_t none;
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, by_default, NULL, _NSIG / 8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

bool pass_descriptor(int fd, int number)
{
    /* dup2(2) leaves close-on-exec set when both are the same. */
    return fd == number ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, number) == number;
}
