#include "child/process_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/records.h"

static const struct {
    const char *name;
    int resource;
} RESOURCES[] = {
    {"as", RLIMIT_AS},
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},
    {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

static const char *read_limits(const struct record *record, struct process *p)
{
    if (record->count % 3)
        return fault("rlimit: %zu values do not make triples", record->count);
    p->limit_count = record->count / 3;
    p->limits = calloc(p->limit_count + 1, sizeof *p->limits);
    if (!p->limits)
        return "out of memory";
    for (size_t i = 0; i < p->limit_count; i++) {
        char **triple = record->values + 3 * i;
        uint64_t soft, hard;
        size_t r = 0;
        while (r < ARRAY_SIZE(RESOURCES) && strcmp(RESOURCES[r].name, triple[0]))
            r++;
        if (r == ARRAY_SIZE(RESOURCES))
            return fault("rlimit: unknown resource \"%s\"", triple[0]);
        if (!parse_decimal(triple[1], UINT64_MAX, &soft) || !parse_decimal(triple[2], UINT64_MAX, &hard))
            return fault("rlimit %s: \"%s\" and \"%s\" must be numbers", triple[0], triple[1], triple[2]);
        p->limits[i].name = RESOURCES[r].name;
        p->limits[i].resource = RESOURCES[r].resource;
        p->limits[i].value = (struct rlimit){.rlim_cur = soft, .rlim_max = hard};
    }
    return NULL;
}

static const char *read_groups(const struct record *record, struct process *p)
{
    p->group_count = record->count;
    p->groups = calloc(record->count + 1, sizeof *p->groups);
    if (!p->groups)
        return "out of memory";
    for (size_t i = 0; i < record->count; i++) {
        uint64_t gid;
        if (!parse_decimal(record->values[i], UINT32_MAX, &gid))
            return fault("groups: \"%s\" is not a group id", record->values[i]);
        p->groups[i] = (gid_t)gid;
    }
    return NULL;
}

/* Reads a record of exactly COUNT numbers, each of at most LIMIT. */
static const char *read_numbers(const struct record *record, size_t count, uint64_t limit, uint64_t *numbers)
{
    if (record->count != count)
        return fault("%s: %zu values instead of %zu", record->name, record->count, count);
    for (size_t i = 0; i < count; i++)
        if (!parse_decimal(record->values[i], limit, &numbers[i]))
            return fault("%s: \"%s\" is not a number of at most %llu", record->name, record->values[i],
                         (unsigned long long)limit);
    return NULL;
}

static const char *read_schedule(const struct record *record, struct process *p)
{
    /* Policy, flags, nice value, priority, runtime, deadline, period. Only the nice value may be negative. */
    uint64_t n[7];
    bool negative = record->count == ARRAY_SIZE(n) && record->values[2][0] == '-';
    if (negative)
        record->values[2]++;
    const char *wrong = read_numbers(record, ARRAY_SIZE(n), UINT64_MAX, n);
    if (wrong)
        return wrong;
    if (n[0] > UINT32_MAX || n[2] > INT32_MAX || n[3] > UINT32_MAX)
        return "scheduler: a number is too large";
    p->has_schedule = true;
    p->schedule = (struct schedule){
        .size = sizeof p->schedule,
        .policy = (uint32_t)n[0],
        .flags = n[1],
        .nice = negative ? -(int32_t)n[2] : (int32_t)n[2],
        .priority = (uint32_t)n[3],
        .runtime_ns = n[4],
        .deadline_ns = n[5],
        .period_ns = n[6],
    };
    return NULL;
}

/* Reads a length at *AT and a vector of that length, and moves *AT behind it. Returns NULL when the record is too short. */
static char **read_vector(const struct record *record, size_t *at)
{
    uint64_t count;
    if (*at >= record->count || !parse_decimal(record->values[*at], record->count - *at - 1, &count))
        return NULL;
    char **vector = calloc((size_t)count + 1, sizeof *vector);
    if (vector)
        memcpy(vector, record->values + *at + 1, (size_t)count * sizeof *vector);
    *at += (size_t)count + 1;
    return vector;
}

/* Origin, path, seconds; then arguments and environment, each with its length in front. */
static const char *read_hook(const struct record *record, struct process *p)
{
    struct hook *hooks = realloc(p->hooks, (p->hook_count + 1) * sizeof *hooks), *hook;
    uint64_t timeout_s;
    size_t at = 3;
    if (!hooks)
        return "out of memory";
    p->hooks = hooks;
    hook = hooks + p->hook_count;
    if (record->count < at || record->values[1][0] != '/' || !parse_decimal(record->values[2], UINT64_MAX, &timeout_s))
        return "hook: must begin with an origin, an absolute path and a number of seconds";
    *hook = (struct hook){
        .origin = record->values[0],
        .path = record->values[1],
        .timeout_s = timeout_s < INT32_MAX ? (unsigned)timeout_s : INT32_MAX,
    };
    hook->args = read_vector(record, &at);
    hook->env = read_vector(record, &at);
    if (!hook->args || !hook->env || at != record->count)
        return "hook: arguments and environment must fill the record";
    p->hook_count++;
    return NULL;
}

static const char *read_args(const struct record *record, struct process *p)
{
    if (!record->count)
        return "args: empty";
    p->args = record->values;
    return NULL;
}

static const char *read_env(const struct record *record, struct process *p)
{
    p->env = record->values;
    return NULL;
}

static const char *read_cwd(const struct record *record, struct process *p)
{
    if (record->count != 1 || record->values[0][0] != '/')
        return "cwd: must be one absolute path";
    p->cwd = record->values[0];
    return NULL;
}

static const char *read_user(const struct record *record, struct process *p)
{
    uint64_t n[2] = {0};
    const char *wrong = read_numbers(record, ARRAY_SIZE(n), UINT32_MAX, n);
    p->uid = (uid_t)n[0];
    p->gid = (gid_t)n[1];
    return wrong;
}

static const char *read_umask(const struct record *record, struct process *p)
{
    uint64_t n = 0;
    const char *wrong = read_numbers(record, 1, 07777, &n);
    p->umask = (mode_t)n;
    return wrong;
}

static const char *read_capabilities(const struct record *record, struct process *p)
{
    p->has_capabilities = true;
    return read_numbers(record, CAP_SETS, UINT64_MAX, p->capabilities);
}

static const char *read_flag(const struct record *record, bool *flag)
{
    uint64_t n = 0;
    const char *wrong = read_numbers(record, 1, 1, &n);
    *flag = n;
    return wrong;
}

static const char *read_no_new_privs(const struct record *record, struct process *p)
{
    return read_flag(record, &p->no_new_privs);
}

static const char *read_pid_namespace(const struct record *record, struct process *p)
{
    return read_flag(record, &p->pid_namespace);
}

static const char *read_network_follows(const struct record *record, struct process *p)
{
    return read_flag(record, &p->network_follows);
}

static const char *read_sessions(const struct record *record, struct process *p)
{
    return read_flag(record, &p->sessions);
}

static const char *read_sync_clock(const struct record *record, struct process *p)
{
    return read_flag(record, &p->sync_clock);
}

static const char *read_pod(const struct record *record, struct process *p)
{
    return read_flag(record, &p->pod);
}

static const char *read_control_group(const struct record *record, struct process *p)
{
    if (record->count % 2)
        return fault("control_group: %zu values do not make pairs", record->count);
    for (size_t i = 0; i < record->count; i += 2)
        if (strchr(record->values[i], '/'))
            return fault("control_group: \"%s\" is no file of a control group", record->values[i]);
    p->control_group = record->values;
    p->control_group_count = record->count;
    return NULL;
}

static const char *read_layer(const struct record *record, struct process *p)
{
    if (record->count != 1 || record->values[0][0] != '/')
        return "layer: must be one absolute path";
    p->layer = record->values[0];
    return NULL;
}

static const char *read_seccomp(const struct record *record, struct process *p)
{
    uint64_t n = 0;
    const char *wrong = read_numbers(record, 1, UINT32_MAX, &n);
    p->has_filter = true;
    p->filter_flags = (unsigned)n;
    return wrong;
}

static const char *read_io_priority(const struct record *record, struct process *p)
{
    uint64_t n[2] = {0};
    const char *wrong = read_numbers(record, ARRAY_SIZE(n), 7, n);
    p->has_io_priority = true;
    p->io_class = (unsigned)n[0];
    p->io_level = (unsigned)n[1];
    return wrong;
}

static const char *read_pids_limit(const struct record *record, struct process *p)
{
    uint64_t n;
    p->pids_limit = record->values[0];
    return read_numbers(record, 1, UINT64_MAX, &n);
}

static const char *read_oom_score_adj(const struct record *record, struct process *p)
{
    /* The number may be negative; the kernel checks it when it is written. */
    if (record->count != 1)
        return "oom_score_adj: must be one number";
    p->has_oom_score_adj = true;
    p->oom_score_adj = record->values[0];
    return NULL;
}

static const char *read_terminal(const struct record *record, struct process *p)
{
    uint64_t n[2] = {0};
    const char *wrong = read_numbers(record, ARRAY_SIZE(n), UINT16_MAX, n);
    p->terminal = true;
    p->rows = (unsigned short)n[0];
    p->columns = (unsigned short)n[1];
    return wrong;
}

static const char *read_null(const struct record *record, struct process *p)
{
    if (record->count != 1 || record->values[0][strspn(record->values[0], "012")])
        return "null: must be digits of standard streams";
    p->null_streams = record->values[0];
    return NULL;
}

static const char *read_hook_state(const struct record *record, struct process *p)
{
    if (record->count != ARRAY_SIZE(p->hook_state))
        return "hook_state: must be two texts";
    p->hook_state[0] = record->values[0];
    p->hook_state[1] = record->values[1];
    return NULL;
}

/* In the order of docs/guest.md. */
static const struct {
    const char *name;
    const char *(*read)(const struct record *record, struct process *p);
} RECORDS[] = {
    {"args", read_args},
    {"env", read_env},
    {"cwd", read_cwd},
    {"user", read_user},
    {"groups", read_groups},
    {"umask", read_umask},
    {"rlimit", read_limits},
    {"capabilities", read_capabilities},
    {"no_new_privs", read_no_new_privs},
    {"seccomp", read_seccomp},
    {"oom_score_adj", read_oom_score_adj},
    {"scheduler", read_schedule},
    {"io_priority", read_io_priority},
    {"pids_limit", read_pids_limit},
    {"pid_namespace", read_pid_namespace},
    {"network_follows", read_network_follows},
    {"sessions", read_sessions},
    {"sync_clock", read_sync_clock},
    {"pod", read_pod},
    {"control_group", read_control_group},
    {"layer", read_layer},
    {"hook_state", read_hook_state},
    {"hook", read_hook},
    {"terminal", read_terminal},
    {"null", read_null},
};

static const char *apply_record(const struct record *record, void *process)
{
    for (size_t i = 0; i < ARRAY_SIZE(RECORDS); i++)
        if (!strcmp(RECORDS[i].name, record->name))
            return RECORDS[i].read(record, process);
    return fault("unknown record \"%s\"", record->name);
}

const char *process_file_parse(char *text, size_t size, struct process *p)
{
    static char *no_env[2];
    memset(p, 0, sizeof *p);
    p->umask = 022;
    p->env = no_env;
    const char *wrong = records_read(text, size, apply_record, p);
    if (wrong)
        return wrong;
    if (!p->args && p->control_group_count)
        return NULL; /* new limits alone */
    if (!p->args)
        return "no record \"args\"";
    if (!p->cwd)
        return "no record \"cwd\"";
    if (p->hook_count && !p->hook_state[0])
        return "a record \"hook\" needs a record \"hook_state\"";
    return NULL;
}

const char *process_file_read(const char *path, struct process *p)
{
    size_t size;
    char *text = read_whole(path, &size);
    if (!text)
        return reason(errno);
    const char *wrong = process_file_parse(text, size, p);
    if (!wrong && !p->args)
        wrong = "no record \"args\"";
    if (!wrong && p->has_filter && !(p->filter = read_whole("/runx/seccomp", &p->filter_size)))
        wrong = fault("seccomp: /runx/seccomp: %s", reason(errno));
    return wrong;
}
