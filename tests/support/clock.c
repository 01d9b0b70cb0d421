/* Stands in for what sets the clock, in each /init that tests compile: it would be this machine's. What was asked for is a line
 * of the file /clock in the ramdisk. Without the file, the clock cannot be set. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static int note(const char *text, int length)
{
    int fd = open("/clock", O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) {
        errno = EPERM;
        return -1;
    }
    int written = (int)write(fd, text, (size_t)length);
    close(fd);
    return written == length ? 0 : -1;
}

int no_clock_settime(clockid_t clock, const struct timespec *time)
{
    struct timespec now;
    char text[80];
    clock_gettime(CLOCK_REALTIME, &now);
    double by = (double)(time->tv_sec - now.tv_sec) + (double)(time->tv_nsec - now.tv_nsec) / 1e9;
    if (clock != CLOCK_REALTIME || time->tv_nsec < 0 || time->tv_nsec > 999999999 || time->tv_sec < 0) {
        errno = EINVAL;
        return -1;
    }
    return note(text, snprintf(text, sizeof text, "step %.3f\n", by));
}

int no_adjtimex(struct timex *change)
{
    char text[80];
    if (change->modes != ADJ_OFFSET_SINGLESHOT)
        return 0;
    return note(text, snprintf(text, sizeof text, "slew %ld\n", (long)change->offset));
}
