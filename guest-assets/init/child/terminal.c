#include "child/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/common.h"
#include "common/descriptor.h"
#include "common/error_text.h"
#include "common/report.h"

void terminal_resize(int fd, unsigned short rows, unsigned short columns)
{
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    if (fd >= 0)
        ioctl(fd, TIOCSWINSZ, &size);
}

/* Makes /dev/console the terminal too, as runc does. Does nothing when /dev cannot have it. */
static void bind_console(int master)
{
    unsigned number;
    char path[32];
    if (ioctl(master, TIOCGPTN, &number) < 0)
        return;
    snprintf(path, sizeof path, "/dev/pts/%u", number);
    if (mknod("/dev/console", S_IFREG | 0620, 0) < 0 && errno != EEXIST)
        return;
    mount(path, "/dev/console", NULL, MS_BIND, NULL);
}

void terminal_open(const struct process *p, int socket, bool is_console, int report)
{
    int unlocked = 0;
    int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        report_failure(report, STATUS_SETUP_FAILED, "terminal: /dev/ptmx: %s", reason(errno));
    int slave = -1;
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || (slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY)) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "terminal: %s", reason(errno));
    if (p->rows || p->columns)
        terminal_resize(master, p->rows, p->columns);
    if (is_console)
        bind_console(master);
    if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "controlling terminal: %s", reason(errno));
    if (dup2(slave, 0) < 0 || dup2(slave, 1) < 0 || dup2(slave, 2) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "standard streams: %s", reason(errno));
    if (slave > 2)
        close(slave);
    if (!descriptor_send(socket, master))
        report_failure(report, STATUS_SETUP_FAILED, "sending the terminal: %s", reason(errno));
    close(master);
}
