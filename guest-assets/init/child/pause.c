#include "child/pause.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"

enum { MOST_FDS = 1024 };

void pause_root(int report)
{
    if (mount("pause", NEWROOT, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=555,nr_inodes=1") < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s: %s", NEWROOT, reason(errno));
}

_Noreturn void pause_run(int report)
{
    sigset_t all;
    siginfo_t info;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL); /* a signal that is blocked waits, also for the first process of a namespace */
    if (write(report, (char[]){REPORT_EXECUTING}, 1) != 1)
        leave(STATUS_SETUP_FAILED);
    for (int fd = 0; fd < MOST_FDS; fd++)
        close(fd);
    for (;;) {
        int number = sigwaitinfo(&all, &info);
        if (number == SIGTERM || number == SIGINT)
            leave(0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
