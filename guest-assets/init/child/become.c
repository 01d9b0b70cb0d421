#include "child/become.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "child/exec.h"
#include "child/stdio.h"
#include "child/terminal.h"
#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/report.h"

/* Raises the ceiling of RLIMIT_NOFILE: a limit that is possible on the host may be above this kernel's default. */
static void raise_file_ceiling(rlim_t wanted)
{
    char text[32];
    if (!read_file("/proc/sys/fs/nr_open", text, sizeof text) || strtoull(text, NULL, 10) >= wanted)
        return;
    snprintf(text, sizeof text, "%llu", (unsigned long long)wanted);
    write_file("/proc/sys/fs/nr_open", text); /* setrlimit(2) reports a limit that is still too high */
}

void become_prepare(const struct process *p, int report)
{
    for (size_t i = 0; i < p->limit_count; i++)
        if (p->limits[i].resource == RLIMIT_NOFILE)
            raise_file_ceiling(p->limits[i].value.rlim_max);
    if (p->has_oom_score_adj && !write_file("/proc/self/oom_score_adj", p->oom_score_adj))
        report_failure(report, STATUS_SETUP_FAILED, "oom_score_adj %s: %s", p->oom_score_adj, reason(errno));
}

void become(struct process *p, const struct child_pipes *pipes, bool is_first)
{
    if (p->terminal)
        terminal_open(p, pipes->terminal, is_first, pipes->report);
    else if (setsid() < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "setsid: %s", reason(errno));
    else
        stdio_connect(pipes, pipes->report);
    stdio_own(p, pipes->report);
    exec_process(p, pipes->report);
}
