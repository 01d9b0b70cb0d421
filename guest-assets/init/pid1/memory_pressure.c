/* A guest whose memory has run out, and whose kernel does not notice.
 *
 * The kernel ends a process when it finds no memory, unless it wants the memory for a file system (GFP_NOFS): then it looks
 * again, for ever (__alloc_pages_may_oom, mm/page_alloc.c). 9p takes the memory for its messages so. A process that reads a
 * page of its program while it fills the memory would keep its processor busy and never end. So whenever processes do little
 * else than wait for memory (Documentation/accounting/psi.rst), /init wants some that is for no file system, and lets go of it:
 * the kernel then finds some, or ends the process that has most. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "init.h"

/* Microseconds of waiting in a window, both in microseconds, that are worth a look. */
#define TRIGGER "some 1800000 2000000"

static int pressure = -1;

void memory_watch(void)
{
    /* A kernel of the container's own may be without. */
    pressure = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (pressure < 0)
        return;
    if (write(pressure, TRIGGER, sizeof TRIGGER) < 0) {
        log_warn("init: /proc/pressure/memory: %m\n");
        close(pressure);
        pressure = -1;
    }
}

int memory_fd(void)
{
    return pressure;
}

void memory_want(void)
{
    /* What is asked for 9p's messages again and again is up to eight pages in a row (PAGE_ALLOC_COSTLY_ORDER), so this has to be
     * as much: a pipe's table has 40 bytes for every page, on 32-bit machines 24. */
    int pages = sizeof(void *) == 8 ? 512 : 1024;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    fcntl(ends[1], F_SETPIPE_SZ, pages * getpagesize());
    close(ends[0]);
    close(ends[1]);
}
