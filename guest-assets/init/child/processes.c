#include "child/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/report.h"

static char status[4096];

/* The value of a field of /proc/PID/status; of several numbers the one at INDEX, or the last one before it. */
static long field(const char *name, int index)
{
    const char *at = strstr(status, name);
    long value = 0;
    if (!at)
        return 0;
    char *end;
    for (at += strlen(name); index >= 0; index--, at = end) {
        long next = strtol(at, &end, 10);
        if (end == at)
            break;
        value = next;
    }
    return value;
}

/* Whether a process is in the control group GROUP, or in one that it has made. */
static bool is_in(const char *pid, const char *group)
{
    char path[300], text[512];
    size_t length = strlen(group);
    snprintf(path, sizeof path, "/proc/%s/cgroup", pid);
    if (!read_file(path, text, sizeof text))
        return false;
    const char *at = strstr(text, "0::/");
    return at && !strncmp(at + 4, group, length) && (at[4 + length] == '\n' || at[4 + length] == '/');
}

/* How many PID namespaces a process is below that of PID 1. */
static int level_of(pid_t pid)
{
    char path[40];
    int level = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (!read_file(path, status, sizeof status))
        return 0;
    const char *at = strstr(status, "\nNSpid:");
    for (at = at ? at + 7 : ""; *at && *at != '\n'; at++)
        level += *at == '\t';
    return level < 0 ? 0 : level;
}

/* The arguments of a process in one line: NULs between them become spaces, other control characters, which would end the line, `?`. */
static void read_words(const char *pid, char *words, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, words, size - 1);
    if (fd >= 0)
        close(fd);
    while (length > 0 && !words[length - 1])
        length--;
    for (ssize_t i = 0; i < length; i++)
        if (!words[i])
            words[i] = ' ';
        else if ((unsigned char)words[i] < ' ' || words[i] == 0x7f)
            words[i] = '?';
    words[length > 0 ? length : 0] = '\0';
}

static void show(const char *pid, const char *own_mounts, const char *group, int level, int out)
{
    char path[300], mounts[64], words[1024];
    snprintf(path, sizeof path, "/proc/%s/ns/mnt", pid);
    ssize_t length = readlink(path, mounts, sizeof mounts - 1);
    mounts[length > 0 ? length : 0] = '\0';
    /* PID 1 and its helpers are outside, and threads of the kernel. */
    if (length <= 0 || !strcmp(mounts, own_mounts) || (group && !is_in(pid, group)))
        return;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    if (!read_file(path, status, sizeof status))
        return; /* it has ended */
    long number = field("\nNSpid:", level), uid = field("\nUid:", 0), parent = field("\nPPid:", 0);
    char parent_path[64], name[64];
    const char *of = strstr(status, "Name:\t");
    snprintf(name, sizeof name, "[%.*s]", of ? (int)strcspn(of + 6, "\n") : 0, of ? of + 6 : "");
    read_words(pid, words, sizeof words);
    snprintf(parent_path, sizeof parent_path, "/proc/%ld/status", parent);
    if (!read_file(parent_path, status, sizeof status))
        status[0] = '\0';
    /* A parent outside of the container's PID namespace has one number less. */
    long above = field("\nNSpid:", level), outermost = field("\nNSpid:", 0);
    dprintf(out, "%ld %ld %ld %s\n", number, level && above == outermost ? 0 : above, uid, *words ? words : name);
}

void processes_main(bool in_pid_namespace, const char *group, pid_t pid, const struct child_pipes *pipes)
{
    int level = group ? level_of(pid) : in_pid_namespace;
    char own[64];
    ssize_t length = readlink("/proc/self/ns/mnt", own, sizeof own - 1);
    own[length > 0 ? length : 0] = '\0';
    _Static_assert(REPORT_EXECUTING == 'E', "one byte");
    if (write(pipes->report, "E", 1) != 1)
        _exit(1);
    close(pipes->report);
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            show(entry->d_name, own, group, level, pipes->out);
    _exit(!directory);
}
