/* What the tests of /init run as the container's process: prints everything the kernel gave it, as NUL-ended pairs of
 * name and value. Static, and needs no /proc, so it also runs in an empty root.
 */
#include <grp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void show(const char *name, const char *value)
{
    printf("%s%c%s%c", name, 0, value, 0);
}

static void show_number(const char *name, unsigned long long value)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", value);
    show(name, text);
}

int main(int argc, char **argv)
{
    static const char *const LIMITS[] = {"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile"};
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } caps[2];
    unsigned long long bounding = 0, ambient = 0;
    char text[4096];
    gid_t groups[64];
    sigset_t blocked;

    for (int i = 0; i < argc; i++)
        show("arg", argv[i]);
    for (char **entry = environ; *entry; entry++)
        show("env", *entry);
    struct winsize size;
    if (ioctl(0, TIOCGWINSZ, &size) == 0) {
        snprintf(text, sizeof text, "%u %u", size.ws_row, size.ws_col);
        show("terminal", text);
    }
    show("cwd", getcwd(text, sizeof text) ? text : "?");
    show_number("uid", getuid());
    show_number("euid", geteuid());
    show_number("gid", getgid());
    show_number("egid", getegid());
    int count = getgroups(64, groups);
    for (int i = 0; i < count; i++)
        show_number("group", groups[i]);
    mode_t mask = umask(0);
    show_number("umask", mask);
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        struct rlimit limit;
        getrlimit((int)i, &limit);
        snprintf(text, sizeof text, "%llu %llu", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
        char name[32];
        snprintf(name, sizeof name, "rlimit.%s", LIMITS[i]);
        show(name, text);
    }
    syscall(SYS_capget, &header, caps);
    for (int c = 0; c < 64; c++) {
        bounding |= (unsigned long long)(prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1) << c;
        ambient |= (unsigned long long)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == 1) << c;
    }
    show_number("cap.bounding", bounding);
    show_number("cap.effective", caps[0].effective | (unsigned long long)caps[1].effective << 32);
    show_number("cap.inheritable", caps[0].inheritable | (unsigned long long)caps[1].inheritable << 32);
    show_number("cap.permitted", caps[0].permitted | (unsigned long long)caps[1].permitted << 32);
    show_number("cap.ambient", ambient);
    show_number("keepcaps", (unsigned)prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0));
    show_number("no_new_privs", (unsigned)prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    show_number("pid", getpid());
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } schedule;
    if (syscall(SYS_sched_getattr, 0, &schedule, sizeof schedule, 0) == 0) {
        snprintf(text, sizeof text, "%u %llu %d %u %llu %llu %llu", schedule.policy, (unsigned long long)schedule.flags,
                 schedule.nice, schedule.priority, (unsigned long long)schedule.runtime,
                 (unsigned long long)schedule.deadline, (unsigned long long)schedule.period);
        show("schedule", text);
    }
    show_number("io priority", (unsigned)syscall(SYS_ioprio_get, 1, 0));
    show_number("is_session_leader", getsid(0) == getpid());
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int n = 1; n < NSIG; n++) {
        struct sigaction action;
        if (sigismember(&blocked, n) == 1)
            show_number("blocked", n);
        if (sigaction(n, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            show_number("not default", n);
    }
    for (int fd = 3; fd < 256; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0)
            show_number("open fd", fd);
    }
    return 0;
}
