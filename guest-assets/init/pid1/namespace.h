/* Children of PID 1 in another PID namespace than its own. PID 1 stays where it is, and so do its later children. */
#ifndef RUNX_PID1_NAMESPACE_H
#define RUNX_PID1_NAMESPACE_H

#include <sys/types.h>

/* fork(2) into a new PID namespace. */
pid_t namespace_fork_into_new(void);
/* fork(2) into the PID namespace of the process PID. Returns -1 with errno, too, if that process has ended. */
pid_t namespace_fork_into(pid_t pid);

#endif
