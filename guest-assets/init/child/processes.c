#include "child/processes.h"

#include <dirent.h>
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

static void show(const char *pid, const char *own_mounts, int level, int out)
{
    char path[300], mounts[64], words[1024];
    snprintf(path, sizeof path, "/proc/%s/ns/mnt", pid);
    ssize_t length = readlink(path, mounts, sizeof mounts - 1);
    mounts[length > 0 ? length : 0] = '\0';
    /* PID 1 and its helpers are outside, and threads of the kernel. */
    if (length <= 0 || !strcmp(mounts, own_mounts))
        return;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    if (!read_file(path, status, sizeof status))
        return; /* it has ended */
    long number = field("\nNSpid:", level), uid = field("\nUid:", 0), parent = field("\nPPid:", 0);
    char parent_path[64], name[64];
    const char *of = strstr(status, "Name:\t");
    snprintf(name, sizeof name, "[%.*s]", of ? (int)strcspn(of + 6, "\n") : 0, of ? of + 6 : "");
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    words[0] = '\0';
    read_file(path, words, sizeof words);
    for (size_t i = 0; i + 2 < sizeof words && (words[i] || words[i + 1]); i++)
        if (!words[i])
            words[i] = ' ';
    snprintf(parent_path, sizeof parent_path, "/proc/%ld/status", parent);
    if (!read_file(parent_path, status, sizeof status))
        status[0] = '\0';
    /* A parent outside of the container's PID namespace has one number less. */
    long above = field("\nNSpid:", level), outermost = field("\nNSpid:", 0);
    dprintf(out, "%ld %ld %ld %s\n", number, level && above == outermost ? 0 : above, uid, *words ? words : name);
}

void processes_main(bool in_pid_namespace, const struct child_pipes *pipes)
{
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
            show(entry->d_name, own, in_pid_namespace ? 1 : 0, pipes->out);
    _exit(!directory);
}
