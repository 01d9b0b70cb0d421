/* The mechanism is explained in docs/guest.md, "Memory pressure". For the kernel's part see __alloc_pages_may_oom() in
 * mm/page_alloc.c (GFP_NOFS) and Documentation/accounting/psi.rst. */
#include "pid1/memory_pressure.h"

#include <fcntl.h>
#include <unistd.h>

#include "pid1/log.h"

/* Some process has waited for so many microseconds, in a window of so many microseconds. */
#define TRIGGER "some 1800000 2000000"

static int pressure = -1;

void memory_pressure_watch(void)
{
    /* A kernel without CONFIG_PSI has no such file. */
    pressure = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (pressure < 0)
        return;
    if (write(pressure, TRIGGER, sizeof TRIGGER) < 0) {
        log_warn("init: /proc/pressure/memory: %m\n");
        close(pressure);
        pressure = -1;
    }
}

int memory_pressure_fd(void)
{
    return pressure;
}

void memory_pressure_relieve(void)
{
    /* Allocate as much as 9p does: up to eight pages in a row (PAGE_ALLOC_COSTLY_ORDER). That is the size of the table of a
     * pipe with so many pages: it has 40 bytes a page, 24 on 32-bit machines. */
    int pages = sizeof(void *) == 8 ? 512 : 1024;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    fcntl(ends[1], F_SETPIPE_SZ, pages * getpagesize());
    close(ends[0]);
    close(ends[1]);
}
