#include "pid1/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "pid1/end.h"

/* Forks, and has later children of this process in its own PID namespace again. */
static pid_t fork_and_return(void)
{
    pid_t pid = fork();
    int error = errno;
    if (pid == 0)
        return 0;
    int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(own, CLONE_NEWPID) < 0)
        fatal(STATUS_SETUP_FAILED, "leaving the PID namespace: %s", reason(errno));
    close(own);
    errno = error;
    return pid;
}

pid_t namespace_fork_into_new(void)
{
    return unshare(CLONE_NEWPID) < 0 ? -1 : fork_and_return();
}

pid_t namespace_fork_into(pid_t process)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)process);
    int its = open(path, O_RDONLY | O_CLOEXEC);
    if (its < 0)
        return -1;
    int result = setns(its, CLONE_NEWPID);
    int error = errno;
    close(its);
    errno = error;
    return result < 0 ? -1 : fork_and_return();
}
