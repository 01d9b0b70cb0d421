#include "pid1/ending.h"

#include <time.h>
#include <unistd.h>

#include "pid1/end.h"
#include "pid1/link.h"
#include "pid1/memory_pressure.h"
#include "pid1/signals.h"
#include "pid1/streams.h"

static bool stuck;
static uint8_t status; /* of ENDING, and of EXIT therefore */

long since_ms(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - then->tv_sec) * 1000 + (now.tv_nsec - then->tv_nsec) / 1000000;
}

/* Whether the process has ended, or was killed by the host and does not end at once: the kernel may be at it for seconds. */
static bool has_begun(void)
{
    return child.started && (child.ended || (child.killed && since_ms(&child.killed_at) > ANSWER_MS));
}

/* Tells the host, and kills what is left. */
static void begin(void)
{
    status = exit_status();
    link_send(FRAME_ENDING, &status, 1);
    link_flush();
    kill_everything();
    if (!child.ended)
        memory_pressure_relieve(); /* it may wait for memory, see there */
    reap();
}

/* Whether all processes have ended, or nobody waits for them any longer. */
static bool all_gone(void)
{
    if (!child.any_left)
        return true;
    if (child.killed ? since_ms(&child.killed_at) > KILLED_STUCK_MS : since_ms(&child.ended_at) > STUCK_MS)
        stuck = true;
    return stuck;
}

bool ending_proceed(void)
{
    static bool begun, written;
    static struct timespec written_at;
    if (!begun) {
        if (!has_begun())
            return false;
        begun = true;
        begin();
    }
    if (!written) {
        if (!all_gone())
            return false;
        /* Output goes first, as the host can have it before sync(2) has ended; except after a KILL, which does not wait for a
         * reader that has stalled. */
        if (!link_is_empty() || (!child.killed && !streams_drained(&container_streams)))
            return false;
        /* The mount namespace ended with its last process, so the container's file systems are unmounted now. */
        sync();
        written = true;
        clock_gettime(CLOCK_MONOTONIC, &written_at);
    }
    return streams_drained(&container_streams) || (child.killed && since_ms(&written_at) > READER_MS);
}

bool ending_is_stuck(void)
{
    return stuck;
}

uint8_t ending_status(void)
{
    return status;
}

int ending_timeout(void)
{
    if (child.killed)
        return RETRY_MS;
    return child.ended && child.any_left ? STUCK_MS / 10 : -1;
}
