#include "pid1/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    FULL_FRAME = FRAME_HEADER + FRAME_PAYLOAD_MAX,
    /* Room that data leaves for control frames. Few come between two flushes, because credits are summed up; the largest is
     * FATAL. */
    CONTROL_RESERVE = 2 * FULL_FRAME,
    OUTPUT_SIZE = 64 * 1024,
    /* A queue of this length is short. It is twice the console's ring, so that the ring is never empty. */
    OUTPUT_LOW = 4 * 1024,
    INPUT_SIZE = 2 * FULL_FRAME,
    OPEN_TIMEOUT_S = 60,
    OPEN_RETRY_MS = 4,
};

static int console = -1;
static unsigned char output[OUTPUT_SIZE];
static size_t output_start, output_end;
static unsigned char input[INPUT_SIZE];
static size_t input_length;
static unsigned last_session; /* that the host may name */

int link_open(const char *device)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    /* hvc gives ENODEV until the backend has connected, and that may be after PID 1 has started. */
    while ((console = open(device, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)) < 0) {
        if (errno != ENODEV && errno != ENOENT && errno != ENXIO && errno != EAGAIN && errno != EINTR)
            return -1;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= OPEN_TIMEOUT_S)
            return -1;
        nanosleep(&(struct timespec){.tv_nsec = OPEN_RETRY_MS * 1000000L}, NULL);
    }
    struct termios settings;
    if (tcgetattr(console, &settings) < 0)
        return -1;
    cfmakeraw(&settings);
    if (tcsetattr(console, TCSANOW, &settings) < 0)
        return -1;
    return console;
}

int link_fd(void)
{
    return console;
}

bool link_is_empty(void)
{
    return output_start == output_end;
}

short link_events(void)
{
    return (short)(POLLIN | (link_is_empty() ? 0 : POLLOUT));
}

void link_allow_sessions(void)
{
    last_session = SESSIONS_MOST;
}

static size_t room(void)
{
    return OUTPUT_SIZE - (output_end - output_start);
}

bool link_has_room(void)
{
    return room() >= FULL_FRAME + CONTROL_RESERVE;
}

bool link_is_low(void)
{
    return output_end - output_start <= OUTPUT_LOW;
}

/* Makes LENGTH bytes of contiguous space at output_end. */
static bool make_space(size_t length)
{
    if (room() < length)
        return false;
    if (OUTPUT_SIZE - output_end < length) {
        memmove(output, output + output_start, output_end - output_start);
        output_end -= output_start;
        output_start = 0;
    }
    return true;
}

static void finish_frame(unsigned kind, size_t length)
{
    unsigned char *frame = output + output_end;
    frame[0] = (unsigned char)kind;
    frame[1] = (unsigned char)(kind >> 8);
    frame[2] = (unsigned char)(length & 0xff);
    frame[3] = (unsigned char)(length >> 8);
    output_end += FRAME_HEADER + length;
}

void link_send(unsigned kind, const void *payload, size_t length)
{
    if (length > FRAME_PAYLOAD_MAX || !make_space(FRAME_HEADER + length))
        return;
    if (length)
        memcpy(output + output_end + FRAME_HEADER, payload, length);
    finish_frame(kind, length);
}

ssize_t link_send_from(unsigned kind, int fd, size_t limit)
{
    if (limit > FRAME_PAYLOAD_MAX)
        limit = FRAME_PAYLOAD_MAX;
    if (!make_space(FRAME_HEADER + limit)) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t count = read(fd, output + output_end + FRAME_HEADER, limit);
    if (count > 0)
        finish_frame(kind, (size_t)count);
    return count;
}

bool link_flush(void)
{
    while (!link_is_empty()) {
        ssize_t count = write(console, output + output_start, output_end - output_start);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        output_start += (size_t)count;
        if (!link_is_empty())
            return true; /* the driver has no room; poll(2) tells when it has */
    }
    output_start = output_end = 0;
    return true;
}

bool link_receive(void (*handle)(unsigned kind, unsigned char *payload, size_t length))
{
    ssize_t count = read(console, input + input_length, sizeof input - input_length);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    if (count == 0)
        return false;
    input_length += (size_t)count;
    size_t start = 0;
    while (input_length - start >= FRAME_HEADER) {
        unsigned char *frame = input + start;
        size_t length = frame[2] | (size_t)frame[3] << 8;
        if (frame[1] > last_session || length > FRAME_PAYLOAD_MAX)
            return false; /* where the next frame begins is unknown */
        if (input_length - start < FRAME_HEADER + length)
            break;
        handle(frame_of(frame[1], frame[0]), frame + FRAME_HEADER, length);
        start += FRAME_HEADER + length;
    }
    memmove(input, input + start, input_length - start);
    input_length -= start;
    return true;
}
