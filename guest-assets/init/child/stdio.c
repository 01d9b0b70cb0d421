#include "child/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/report.h"

static char nulls[8];         /* digits of the streams that are the null device */
static int ramdisk_null = -1; /* the null device of the ramdisk */

static bool is_null_device(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

static _Noreturn void fail(int report)
{
    report_failure(report, STATUS_SETUP_FAILED, "standard streams: %s", reason(errno));
}

static void open_ramdisk_null(int report)
{
    ramdisk_null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (ramdisk_null < 0)
        report_failure(report, STATUS_SETUP_FAILED, "/dev/null: %s", reason(errno));
}

void stdio_prepare(int report)
{
    if (!read_file("/runx/null", nulls, sizeof nulls)) {
        if (errno != ENOENT)
            report_failure(report, STATUS_SETUP_FAILED, "/runx/null: %s", reason(errno));
        return;
    }
    open_ramdisk_null(report);
}

void stdio_prepare_session(const struct process *p, int report)
{
    if (!p->null_streams)
        return;
    snprintf(nulls, sizeof nulls, "%s", p->null_streams);
    open_ramdisk_null(report);
}

/* The null device: the container's, as under runc, so that its path leads there. The image may have another file at that path. */
static int null_device(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
    if (fd >= 0 && is_null_device(fd) && fcntl(fd, F_SETFL, 0) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return ramdisk_null;
}

void stdio_connect(const struct child_pipes *pipes, int report)
{
    const int ends[] = {pipes->in, pipes->out, pipes->err};
    int null = *nulls ? null_device() : -1;
    for (int fd = 0; fd <= 2; fd++)
        if (dup2(strchr(nulls, '0' + fd) ? null : ends[fd], fd) < 0)
            fail(report);
}

void stdio_own(const struct process *p, int report)
{
    for (int fd = 0; fd <= 2; fd++)
        if (!is_null_device(fd) && fchown(fd, p->uid, (gid_t)-1) < 0)
            fail(report);
}
