#include "child/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/hooks.h"
#include "child/pause.h"
#include "child/schedule.h"
#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"

/* Of capset(2), version 3, which C libraries do not have. */
enum { CAPABILITY_VERSION_3 = 0x20080522 };
struct capability_header {
    uint32_t version;
    int pid;
};
struct capability_data {
    uint32_t effective, permitted, inheritable;
};

/* Of seccomp(2), which C libraries do not have. */
enum { FILTER_INSTRUCTION_SIZE = 8, SECCOMP_SET_MODE_FILTER_OPERATION = 1 };
struct filter_program {
    unsigned short length; /* in instructions */
    const void *instructions;
};

#define SETUP_STEP(call, what)                                                                                         \
    do {                                                                                                               \
        if ((call) < 0)                                                                                                \
            report_failure(report, STATUS_SETUP_FAILED, "%s: %s", what, reason(errno));                                \
    } while (0)

static void apply_limits(const struct process *p, int report)
{
    for (size_t i = 0; i < p->limit_count; i++)
        if (setrlimit(p->limits[i].resource, &p->limits[i].value) < 0)
            report_failure(report, STATUS_SETUP_FAILED, "limit %s of %llu, at most %llu: %s", p->limits[i].name,
                           (unsigned long long)p->limits[i].value.rlim_cur,
                           (unsigned long long)p->limits[i].value.rlim_max, reason(errno));
}

/* Whether the kernel knows the capability. Others are left out of all sets. */
static bool is_known(int capability)
{
    return prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
}

static void drop_bounding(const struct process *p, int report)
{
    for (int c = 0; c < 64 && is_known(c); c++)
        if (!(p->capabilities[CAP_BOUNDING] >> c & 1))
            SETUP_STEP(prctl(PR_CAPBSET_DROP, c, 0, 0, 0), "capabilities, bounding set");
}

static void apply_capabilities(const struct process *p, int report)
{
    struct capability_header header = {.version = CAPABILITY_VERSION_3};
    struct capability_data data[2];
    for (int word = 0; word < 2; word++) {
        data[word].effective = (uint32_t)(p->capabilities[CAP_EFFECTIVE] >> 32 * word);
        data[word].permitted = (uint32_t)(p->capabilities[CAP_PERMITTED] >> 32 * word);
        data[word].inheritable = (uint32_t)(p->capabilities[CAP_INHERITABLE] >> 32 * word);
    }
    SETUP_STEP(syscall(SYS_capset, &header, data), "capabilities");
    SETUP_STEP(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "capabilities, ambient set");
    for (int c = 0; c < 64 && is_known(c); c++)
        if (p->capabilities[CAP_AMBIENT] >> c & 1)
            SETUP_STEP(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0), "capabilities, ambient set");
}

static void load_filter(const struct process *p, int report)
{
    struct filter_program program = {(unsigned short)(p->filter_size / FILTER_INSTRUCTION_SIZE), p->filter};
    if (p->filter_size % FILTER_INSTRUCTION_SIZE || p->filter_size / FILTER_INSTRUCTION_SIZE > USHRT_MAX)
        report_failure(report, STATUS_SETUP_FAILED, "seccomp: %zu bytes are not a filter", p->filter_size);
    SETUP_STEP(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER_OPERATION, p->filter_flags, &program), "seccomp");
}

/* The home directory of UID in the container's /etc/passwd, else "/". */
static const char *home_of(uid_t uid)
{
    static char line[1024];
    /* The image may have a FIFO or a device here: do not wait for one. */
    int fd = open("/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat status;
    FILE *file;
    if (fd < 0)
        return "/";
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || !(file = fdopen(fd, "r"))) {
        close(fd);
        return "/";
    }
    const char *home = "/";
    while (fgets(line, sizeof line, file)) {
        char *field[6] = {line}, *end;
        size_t count = 1;
        for (char *at = line; *at && count < ARRAY_SIZE(field); at++)
            if (*at == ':') {
                *at = 0;
                field[count++] = at + 1;
            }
        if (count < ARRAY_SIZE(field) || !*field[2])
            continue;
        unsigned long id = strtoul(field[2], &end, 10);
        if (*end || id != uid)
            continue;
        field[5][strcspn(field[5], ":\n")] = 0;
        if (*field[5])
            home = field[5];
        break;
    }
    fclose(file);
    return home;
}

/* Adds HOME to the environment when it has none, or an empty one. */
static void add_home(struct process *p)
{
    static char entry[1024 + 5];
    size_t at = 0;
    while (p->env[at] && strncmp(p->env[at], "HOME=", 5))
        at++;
    if (p->env[at] && p->env[at][5])
        return;
    snprintf(entry, sizeof entry, "HOME=%s", home_of(p->uid));
    p->env[at] = entry;
}

static const char *search_path(char *const *env)
{
    for (; *env; env++)
        if (!strncmp(*env, "PATH=", 5))
            return *env + 5;
    return "";
}

static bool in_group(gid_t gid)
{
    static gid_t groups[65536]; /* NGROUPS_MAX */
    int count = getgroups(ARRAY_SIZE(groups), groups);
    while (count > 0)
        if (groups[--count] == gid)
            return true;
    return gid == getegid();
}

/* Returns 0 when this user may execute FILE, else an errno. */
static int check_executable(const char *file)
{
    struct stat status;
    if (stat(file, &status) < 0)
        return errno;
    if (S_ISDIR(status.st_mode))
        return EACCES; /* as execve(2): engines look for these words, and not for those of EISDIR */
    /* Not faccessat(3): musl forks when the kernel does not know the call, and believes EPERM of a seccomp filter. */
    if (syscall(SYS_faccessat2, AT_FDCWD, file, X_OK, AT_EACCESS) == 0)
        return 0;
    if (errno != ENOSYS && errno != EPERM)
        return errno;
    bool owner = status.st_uid == geteuid();
    mode_t bit = owner ? S_IXUSR : in_group(status.st_gid) ? S_IXGRP : S_IXOTH;
    return status.st_mode & (geteuid() ? bit : S_IXUSR | S_IXGRP | S_IXOTH) ? 0 : EACCES;
}

/* Finds the file of args[0] as runc does (Go's exec.LookPath): a name with a slash is a path; for other names, the first
 * executable file of PATH. The messages are runc's, because engines look for their words. */
static const char *find_program(const struct process *p, int report)
{
    static char candidate[PATH_MAX];
    const char *name = p->args[0];
    if (strchr(name, '/')) {
        int error = check_executable(name);
        if (error == ENOENT || error == ENOTDIR)
            report_failure(report, STATUS_NOT_FOUND, "exec: \"%s\": stat %s: %s", name, name, reason(error));
        if (error)
            report_failure(report, STATUS_NOT_EXECUTABLE, "exec: \"%s\": %s", name, reason(error));
        return name;
    }
    for (const char *at = search_path(p->env), *end; *name && at; at = *end ? end + 1 : NULL) {
        end = strchrnul(at, ':');
        int directory = (int)(end - at); /* an empty entry is the working directory */
        int length = snprintf(candidate, sizeof candidate, "%.*s/%s", directory ? directory : 1, directory ? at : ".", name);
        if (length < (int)sizeof candidate && !check_executable(candidate))
            return candidate;
    }
    report_failure(report, STATUS_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", name);
}

/* The order of the steps is runc's. */
void exec_process(struct process *p, int report)
{
    umask(p->umask);
    add_home(p); /* opens a file, and needs memory: before limits of both */
    apply_limits(p, report);
    schedule_apply(p, report); /* needs rights that the process may not keep */

    /* Enter the working directory as root. If root may not, try as the user below. */
    int chdir_error = chdir(p->cwd) < 0 ? errno : 0;

    /* Without no_new_privs, loading a filter needs CAP_SYS_ADMIN: load it before capabilities are dropped. It must allow the
     * steps that follow. With no_new_privs, load it as the last step. */
    if (p->has_filter && !p->no_new_privs)
        load_filter(p, report);
    if (p->has_capabilities) {
        drop_bounding(p, report);
        SETUP_STEP(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keeping capabilities");
    }
    SETUP_STEP(setgroups(p->group_count, p->groups), "setgroups");
    SETUP_STEP(setgid(p->gid), "setgid");
    SETUP_STEP(setuid(p->uid), "setuid");
    if ((chdir_error == EACCES || chdir_error == EPERM) && chdir(p->cwd) == 0)
        chdir_error = 0;
    if (chdir_error)
        report_failure(report, STATUS_SETUP_FAILED, "chdir to cwd (\"%s\") set in config.json failed: %s", p->cwd,
                       reason(chdir_error));
    if (p->has_capabilities) {
        SETUP_STEP(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "keeping capabilities");
        apply_capabilities(p, report);
    }
    const char *program = p->pod ? NULL : find_program(p, report);
    if (p->no_new_privs)
        SETUP_STEP(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    if (p->has_filter && p->no_new_privs)
        load_filter(p, report);
    hooks_run(p, report); /* with the user and the rights of the process */
    if (p->pod)
        pause_run(report);

    SETUP_STEP(write(report, (char[]){REPORT_EXECUTING}, 1), "report");
    execve(program, p->args, p->env);
    int error = errno;
    report_failure(report, error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE,
                   "exec %s: %s", program, reason(error));
}
