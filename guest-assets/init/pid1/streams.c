#include "pid1/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "child/terminal.h"
#include "common/common.h"
#include "common/error_text.h"
#include "pid1/end.h"
#include "pid1/link.h"
#include "pid1/log.h"
#include "pid1/signals.h"

struct output {
    int fd; /* -1: closed */
    enum frame_type type;
    size_t window; /* bytes that may be sent before the host gives credit */
};

static void resize(unsigned short rows, unsigned short columns);

static struct output out = {-1, FRAME_STDOUT, OUTPUT_WINDOW};
static struct output err = {-1, FRAME_STDERR, OUTPUT_WINDOW};

static int in = -1; /* -1: closed */
static bool input_ended;
static bool is_terminal;
static int terminal_end = -1; /* the process's end: while it is open, reads of the master do not fail */
static unsigned char input[INPUT_WINDOW]; /* a ring */
static size_t input_start, input_length;
static uint32_t credit;  /* bytes that the process took and the host was not told of */
static bool tell_closed; /* STDIN_CLOSED is to be sent */

void streams_open(int in_fd, int out_fd, int err_fd)
{
    in = in_fd;
    out.fd = out_fd;
    err.fd = err_fd;
}

void streams_await_terminal(void)
{
    is_terminal = true;
}

void streams_open_terminal(int master)
{
    in = fcntl(master, F_DUPFD_CLOEXEC, 0);
    terminal_end = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (in < 0 || terminal_end < 0)
        fatal(STATUS_SETUP_FAILED, "terminal: %s", reason(errno));
    out.fd = master;
    resize(0, 0);
}

static struct output *stream(unsigned number)
{
    return number == STREAM_STDOUT ? &out : number == STREAM_STDERR ? &err : NULL;
}

static void close_output(struct output *output)
{
    if (output->fd >= 0)
        close(output->fd);
    output->fd = -1;
}

static void close_input(void)
{
    if (in >= 0)
        close(in);
    in = -1;
    input_length = 0;
}

static void close_terminal_end(void)
{
    if (terminal_end >= 0)
        close(terminal_end);
    terminal_end = -1;
}

void streams_lose_input(void)
{
    if (in < 0)
        return;
    close_input();
    tell_closed = !input_ended && !child.ended;
}

static void take_input(const unsigned char *bytes, size_t length)
{
    if (in < 0 && !(is_terminal && !child.started))
        return; /* the host sent it before it read STDIN_CLOSED */
    if (length > INPUT_WINDOW - input_length) {
        log_warn("init: input beyond the window was dropped\n");
        return;
    }
    for (size_t i = 0; i < length; i++)
        input[(input_start + input_length + i) % INPUT_WINDOW] = bytes[i];
    input_length += length;
}

/* Sets the terminal's size, now or when there is a terminal. */
static void resize(unsigned short rows, unsigned short columns)
{
    static unsigned short early_rows, early_columns;
    if (rows || columns) {
        early_rows = rows;
        early_columns = columns;
    }
    if (is_terminal && in >= 0 && (early_rows || early_columns))
        terminal_resize(in, early_rows, early_columns);
}

static uint32_t read_u32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void relay_output(struct output *output, bool at_end)
{
    while (output->fd >= 0 && output->window && link_has_room()) {
        ssize_t count = link_send_from(output->type, output->fd, output->window);
        if (count > 0) {
            output->window -= (size_t)count;
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else if (count < 0 && errno == EAGAIN && !at_end) {
            return;
        } else {
            link_send(output->type, NULL, 0);
            close_output(output);
        }
    }
}

static void feed_input(void)
{
    while (in >= 0 && input_length) {
        size_t contiguous = INPUT_WINDOW - input_start;
        if (contiguous > input_length)
            contiguous = input_length;
        ssize_t count = write(in, input + input_start, contiguous);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0) { /* EPIPE */
            streams_lose_input();
            return;
        }
        input_start = (input_start + (size_t)count) % INPUT_WINDOW;
        input_length -= (size_t)count;
        credit += (uint32_t)count;
    }
    if (input_ended && in >= 0) {
        close_input();
        /* The user's terminal is gone. Close this one: the kernel then hangs up the process's session. */
        if (is_terminal) {
            close_terminal_end();
            close_output(&out);
        }
    }
}

static void send_input_news(void)
{
    if (credit && link_has_room()) {
        uint32_t n = credit;
        unsigned char payload[5] = {STREAM_STDIN, (unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
                                    (unsigned char)(n >> 24)};
        link_send(FRAME_CREDIT, payload, sizeof payload);
        credit = 0;
    }
    if (tell_closed && link_has_room()) {
        link_send(FRAME_STDIN_CLOSED, NULL, 0);
        tell_closed = false;
    }
}

void streams_relay(bool at_end)
{
    /* All processes have ended. Reads of the master now give the rest of the output, and then EIO. */
    if (child.ended && !child.any_left)
        close_terminal_end();
    if (child.started) {
        if (link_is_low()) {
            /* Take turns: one stream that is always full must not take all the room. */
            static bool errors_first;
            errors_first = !errors_first;
            relay_output(errors_first ? &err : &out, at_end);
            relay_output(errors_first ? &out : &err, at_end);
        }
        feed_input();
    }
    send_input_news();
}

bool streams_drained(void)
{
    return out.fd < 0 && err.fd < 0;
}

bool streams_take_frame(unsigned type, const unsigned char *payload, size_t length)
{
    struct output *output;
    switch (type) {
    case FRAME_HOST_STDIN:
        take_input(payload, length);
        return true;
    case FRAME_HOST_STDIN_EOF:
        input_ended = true;
        return true;
    case FRAME_HOST_WINSIZE:
        if (length == 4)
            resize((unsigned short)(payload[0] | payload[1] << 8), (unsigned short)(payload[2] | payload[3] << 8));
        return true;
    case FRAME_HOST_CREDIT:
        if (length == 5 && (output = stream(payload[0]))) {
            uint32_t bytes = read_u32(payload + 1);
            size_t missing = OUTPUT_WINDOW - output->window;
            output->window += bytes < missing ? bytes : missing;
        }
        return true;
    case FRAME_HOST_CLOSED:
        if (length == 1 && (output = stream(payload[0])))
            close_output(output);
        return true;
    default:
        return false;
    }
}

static int readable(const struct output *output)
{
    return child.started && output->window && link_is_low() ? output->fd : -1;
}

void streams_poll(struct pollfd fds[3])
{
    /* poll(2) reports POLLERR without being asked: it tells that the process has closed its standard input. */
    fds[0] = (struct pollfd){.fd = child.started ? in : -1, .events = input_length ? POLLOUT : 0};
    fds[1] = (struct pollfd){.fd = readable(&out), .events = POLLIN};
    fds[2] = (struct pollfd){.fd = readable(&err), .events = POLLIN};
}
