#include "pid1/groups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/cgroup.h"
#include "common/file.h"

#define OWN HIERARCHY "/init"

/* Groups below one with processes of its own can have no limits: PID 1 and the pod's first process go into one beside them. */
bool groups_open(void)
{
    char names[256], one[256];
    if (mkdir(HIERARCHY, 0755) < 0 && errno != EEXIST)
        return false;
    if (mount("cgroup2", HIERARCHY, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate") < 0)
        return false;
    if ((mkdir(OWN, 0755) < 0 && errno != EEXIST) || !write_file(OWN "/cgroup.procs", "0"))
        return false;
    if (!read_file(HIERARCHY "/cgroup.controllers", names, sizeof names))
        return false;
    for (char *rest = names, *name; (name = strtok_r(rest, " \n", &rest));) {
        snprintf(one, sizeof one, "+%s", name);
        write_file(HIERARCHY "/cgroup.subtree_control", one); /* a limit without its controller fails when it is set */
    }
    return true;
}

bool group_make(unsigned session, char name[GROUP_NAME_MAX])
{
    char path[64];
    snprintf(name, GROUP_NAME_MAX, "container-%u", session);
    snprintf(path, sizeof path, HIERARCHY "/%s", name);
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

void group_kill(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, HIERARCHY "/%s/cgroup.kill", name);
    write_file(path, "1");
}

/* Removes a directory of groups, the lowest first. */
static bool remove_below(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        if (fd >= 0)
            close(fd);
        return errno == ENOENT;
    }
    bool removed = true;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            removed &= remove_below(fd, entry->d_name);
    closedir(directory);
    return removed && (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT);
}

bool group_remove(const char *name)
{
    int top = open(HIERARCHY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool removed = top >= 0 && remove_below(top, name);
    if (top >= 0)
        close(top);
    return removed;
}
