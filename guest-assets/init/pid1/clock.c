#include "pid1/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/timex.h>
#include <time.h>

#include "common/error_text.h"
#include "pid1/link.h"
#include "pid1/log.h"

enum {
    SIZE = 8,
    NS_OF_A_US = 1000,
    NS_OF_A_S = 1000 * 1000 * 1000,
    /* The kernel slews 500 millionths: this much in 100 s. A clock that is further off is wrong for a program, step or not. */
    STEP_NS = 50 * 1000 * 1000,
};

static bool is_allowed, has_warned;

void clock_allow(void)
{
    is_allowed = true;
}

void clock_tell(void)
{
    struct timespec now;
    unsigned char payload[SIZE];
    if (!is_allowed || clock_gettime(CLOCK_REALTIME, &now) < 0)
        return;
    uint64_t ns = (uint64_t)now.tv_sec * NS_OF_A_S + (uint64_t)now.tv_nsec;
    for (int i = 0; i < SIZE; i++)
        payload[i] = (unsigned char)(ns >> 8 * i);
    link_send(FRAME_TIME, payload, SIZE);
}

/* Sets the clock, which also ends what is left of a slew. */
static int step(int64_t by)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0)
        return -1;
    /* Both parts have the sign of BY. */
    int64_t ns = now.tv_nsec + by % NS_OF_A_S;
    now.tv_sec += (time_t)(by / NS_OF_A_S) + (ns < 0 ? -1 : ns >= NS_OF_A_S);
    now.tv_nsec = (long)(ns < 0 ? ns + NS_OF_A_S : ns >= NS_OF_A_S ? ns - NS_OF_A_S : ns);
    return clock_settime(CLOCK_REALTIME, &now);
}

/* Has the kernel make seconds a little longer or shorter until the difference is made up for, as adjtime(3). What is left of the
 * slew before it does not count any more. */
static int slew(int64_t by)
{
    struct timex change = {.modes = ADJ_OFFSET_SINGLESHOT, .offset = (long)(by / NS_OF_A_US)};
    return adjtimex(&change) < 0 ? -1 : 0;
}

void clock_adjust(const unsigned char *payload, size_t length)
{
    uint64_t bits = 0;
    if (!is_allowed || length != SIZE)
        return;
    for (int i = SIZE - 1; i >= 0; i--)
        bits = bits << 8 | payload[i];
    int64_t by = (int64_t)bits;
    int done = by > STEP_NS || by < -STEP_NS ? step(by) : slew(by);
    if (done < 0 && !has_warned) {
        has_warned = true;
        log_warn("init: the clock is not kept at the host's time: %s\n", reason(errno));
    }
}
