/* The container's process, as /runx/process describes it (docs/guest.md). */
#ifndef RUNX_CHILD_PROCESS_H
#define RUNX_CHILD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct limit {
    const char *name; /* as in the record */
    int resource;     /* of setrlimit(2) */
    struct rlimit value;
};

/* In the order of the record. */
enum capability_set { CAP_BOUNDING, CAP_EFFECTIVE, CAP_INHERITABLE, CAP_PERMITTED, CAP_AMBIENT, CAP_SETS };

/* The first version of struct sched_attr, sched_setattr(2), which C libraries do not have. */
struct schedule {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

/* A startContainer hook. */
struct hook {
    const char *origin; /* its path in the configuration, for messages */
    const char *path;
    unsigned timeout_s; /* 0: no limit */
    char **args;        /* NULL terminated */
    char **env;         /* NULL terminated */
    int state;          /* a file in memory: the standard input */
    int output;         /* a file in memory: standard output and error */
};

struct process {
    char **args; /* NULL terminated */
    char **env;  /* NULL terminated, with room for one more entry */
    const char *cwd;
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t group_count;
    mode_t umask;
    struct limit *limits;
    size_t limit_count;
    bool has_capabilities;
    uint64_t capabilities[CAP_SETS];
    bool no_new_privs;
    bool has_filter;
    unsigned filter_flags; /* of seccomp(2) */
    char *filter;          /* an array of struct sock_filter */
    size_t filter_size;    /* in bytes */
    bool has_oom_score_adj;
    const char *oom_score_adj;
    const char *pids_limit; /* NULL: no limit */
    bool has_schedule;
    struct schedule schedule;
    bool has_io_priority;
    unsigned io_class, io_level; /* of ioprio_set(2) */
    bool pid_namespace;
    bool network_follows;      /* the host sends /runx/network over the link */
    bool sessions;             /* the host may start more processes */
    bool sync_clock;           /* the host keeps the clock */
    bool pod;                  /* it waits for the containers of a pod */
    char **control_group;      /* a file of the container's control group, its content, and so on; NULL terminated */
    size_t control_group_count;
    const char *layer;         /* the disk that the container writes to; NULL: none */
    const char *hook_state[2]; /* the JSON text for hooks, before and after the process's pid */
    struct hook *hooks;
    size_t hook_count;
    bool terminal;
    unsigned short rows, columns; /* of the terminal */
    const char *null_streams; /* digits of the standard streams that are the null device; NULL: none, or /runx/null says which */
};

#endif
