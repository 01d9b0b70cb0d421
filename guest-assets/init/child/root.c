#include "child/root.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"

void root_mounts_of_its_own(int report)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "making a mount namespace: %s", reason(errno));
}

void root_enter(int report)
{
    if (chdir(NEWROOT) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s: %s", NEWROOT, reason(errno));
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0) {
        /* EINVAL: the root is a directory of the ramdisk. Make it a mount. */
        if (errno != EINVAL || mount(NEWROOT, NEWROOT, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(NEWROOT) < 0 ||
            mount(".", "/", NULL, MS_MOVE, NULL) < 0)
            report_failure(report, STATUS_SETUP_FAILED, "making %s the root: %s", NEWROOT, reason(errno));
    }
    if (chroot(".") < 0 || chdir("/") < 0)
        report_failure(report, STATUS_SETUP_FAILED, "chroot to %s: %s", NEWROOT, reason(errno));
}
