#include "child/schedule.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"

/* Of ioprio_set(2), which C libraries do not have. */
enum { IOPRIO_WHO_THIS_PROCESS = 1, IOPRIO_CLASS_AT_BIT = 13 };

void schedule_apply(const struct process *p, int report)
{
    if (p->has_schedule && syscall(SYS_sched_setattr, 0, &p->schedule, 0) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "scheduler: %s", reason(errno));
    if (p->has_io_priority &&
        syscall(SYS_ioprio_set, IOPRIO_WHO_THIS_PROCESS, 0, p->io_class << IOPRIO_CLASS_AT_BIT | p->io_level) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "ioPriority: %s", reason(errno));
}
