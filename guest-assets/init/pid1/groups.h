/* Control groups of the containers of a pod (cgroups(7), version 2), in PID 1's mount namespace at HIERARCHY. */
#ifndef RUNX_PID1_GROUPS_H
#define RUNX_PID1_GROUPS_H

#include <stdbool.h>

enum { GROUP_NAME_MAX = 32 };

/* Mounts the hierarchy, and moves PID 1 into a group of its own. Returns false with errno. */
bool groups_open(void);
/* Makes the group of the container of a session, and writes its NAME. Returns false with errno. */
bool group_make(unsigned session, char name[GROUP_NAME_MAX]);
/* Kills what is in it. */
void group_kill(const char *name);
/* Removes it, with those that the container has made in it. Returns false while a process is in it. */
bool group_remove(const char *name);

#endif
