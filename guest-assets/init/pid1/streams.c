#include "pid1/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child/terminal.h"
#include "pid1/link.h"
#include "pid1/log.h"

struct streams container_streams;

static void resize(struct streams *s, unsigned short rows, unsigned short columns);

void streams_open(struct streams *s, unsigned session, int in, int out, int err)
{
    s->session = session;
    s->in = in;
    s->out = (struct output){.fd = out, .type = FRAME_STDOUT, .window = OUTPUT_WINDOW};
    s->err = (struct output){.fd = err, .type = FRAME_STDERR, .window = OUTPUT_WINDOW};
    s->terminal_end = -1;
}

static struct output *stream(struct streams *s, unsigned number)
{
    return number == STREAM_STDOUT ? &s->out : number == STREAM_STDERR ? &s->err : NULL;
}

static void close_output(struct output *output)
{
    if (output->fd >= 0)
        close(output->fd);
    output->fd = -1;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_input(struct streams *s)
{
    if (s->is_connection && s->in >= 0)
        shutdown(s->in, SHUT_WR); /* the server hears the end, and may still answer */
    close_one(&s->in);
    s->input_length = 0;
}

void streams_close_terminal_end(struct streams *s)
{
    close_one(&s->terminal_end);
}

void streams_close(struct streams *s)
{
    close_input(s);
    close_output(&s->out);
    close_output(&s->err);
    close_one(&s->terminal_end);
}

bool streams_open_terminal(struct streams *s, int master)
{
    close_one(&s->in);
    close_output(&s->out);
    close_output(&s->err);
    s->is_terminal = true;
    s->out.fd = master;
    s->in = fcntl(master, F_DUPFD_CLOEXEC, 0);
    s->terminal_end = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (s->in < 0 || s->terminal_end < 0)
        return false;
    resize(s, 0, 0);
    return true;
}

bool streams_of_connection(struct streams *s, int socket)
{
    s->is_connection = true;
    s->out.fd = socket;
    s->in = fcntl(socket, F_DUPFD_CLOEXEC, 0);
    if (s->in >= 0)
        return true;
    int error = errno;
    close_output(&s->out);
    errno = error;
    return false;
}

bool streams_lost_connection(const struct streams *s, short events)
{
    return s->is_connection && (events & (POLLERR | POLLHUP));
}

void streams_lose_input(struct streams *s)
{
    if (s->in < 0)
        return;
    close_input(s);
    s->tell_closed = !s->input_ended && !s->ended;
}

static void take_input(struct streams *s, const unsigned char *bytes, size_t length)
{
    if (s->in < 0)
        return; /* the host sent it before it read STDIN_CLOSED */
    if (length > INPUT_WINDOW - s->input_length) {
        log_warn("init: input beyond the window was dropped\n");
        return;
    }
    for (size_t i = 0; i < length; i++)
        s->input[(s->input_start + s->input_length + i) % INPUT_WINDOW] = bytes[i];
    s->input_length += length;
}

/* Sets the terminal's size, now or when there is a terminal. */
static void resize(struct streams *s, unsigned short rows, unsigned short columns)
{
    if (rows || columns) {
        s->rows = rows;
        s->columns = columns;
    }
    if (s->is_terminal && s->in >= 0 && (s->rows || s->columns))
        terminal_resize(s->in, s->rows, s->columns);
}

static uint32_t read_u32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Others may go on writing as fast as the reader reads: their output is not the process's. A terminal is hung up for them. */
static void count_rest(const struct streams *s, struct output *output)
{
    int left;
    if (output->is_counted || output->fd < 0 || s->is_terminal || s->is_connection)
        return;
    output->is_counted = ioctl(output->fd, FIONREAD, &left) == 0;
    output->left = output->is_counted ? (size_t)left : 0;
}

static bool is_complete(const struct output *output)
{
    return output->is_counted && !output->left;
}

static bool has_writers(int pipe)
{
    struct pollfd fd = {.fd = pipe};
    return poll(&fd, 1, 0) != 1 || !(fd.revents & POLLHUP);
}

static void relay_output(struct streams *s, struct output *output, bool at_end)
{
    unsigned kind = frame_of(s->session, output->type);
    if (at_end)
        count_rest(s, output);
    while (output->fd >= 0 && link_has_room()) {
        bool is_rest_sent = at_end && is_complete(output);
        if (is_rest_sent && s->are_shared && has_writers(output->fd))
            return;
        if (is_rest_sent && !s->are_shared) {
            link_send(kind, NULL, 0);
            close_output(output);
            return;
        }
        bool is_rest = at_end && output->is_counted && !is_rest_sent;
        size_t most = is_rest && output->left < output->window ? output->left : output->window;
        if (!most)
            return;
        ssize_t count = link_send_from(kind, output->fd, most);
        if (count > 0) {
            output->window -= (size_t)count;
            output->left -= is_rest ? (size_t)count : 0;
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else if (count < 0 && errno == EAGAIN && !at_end) {
            return;
        } else if (s->is_connection && (count < 0 || s->was_cut_off)) {
            s->was_cut_off = true; /* the host cuts off the client: no end is told */
            close_output(output);
        } else {
            link_send(kind, NULL, 0);
            close_output(output);
        }
    }
}

static void feed_input(struct streams *s)
{
    while (s->in >= 0 && s->input_length) {
        size_t contiguous = INPUT_WINDOW - s->input_start;
        if (contiguous > s->input_length)
            contiguous = s->input_length;
        ssize_t count = write(s->in, s->input + s->input_start, contiguous);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0) { /* EPIPE */
            s->was_cut_off = s->is_connection; /* a later read would not tell */
            streams_lose_input(s);
            return;
        }
        s->input_start = (s->input_start + (size_t)count) % INPUT_WINDOW;
        s->input_length -= (size_t)count;
        s->credit += (uint32_t)count;
    }
    if (s->input_ended && s->in >= 0) {
        close_input(s);
        /* The user's terminal is gone. Close this one: the kernel then hangs up the process's session. */
        if (s->is_terminal) {
            streams_close_terminal_end(s);
            close_output(&s->out);
        }
    }
}

static void send_input_news(struct streams *s)
{
    if (s->credit && link_has_room()) {
        uint32_t n = s->credit;
        unsigned char payload[5] = {STREAM_STDIN, (unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
                                    (unsigned char)(n >> 24)};
        link_send(frame_of(s->session, FRAME_CREDIT), payload, sizeof payload);
        s->credit = 0;
    }
    if (s->tell_closed && link_has_room()) {
        link_send(frame_of(s->session, FRAME_STDIN_CLOSED), NULL, 0);
        s->tell_closed = false;
    }
}

void streams_relay(struct streams *s, bool at_end)
{
    if (s->started) {
        if (link_is_low()) {
            /* Take turns: one stream that is always full must not take all the room. */
            s->errors_first = !s->errors_first;
            relay_output(s, s->errors_first ? &s->err : &s->out, at_end);
            relay_output(s, s->errors_first ? &s->out : &s->err, at_end);
        }
        feed_input(s);
    }
    send_input_news(s);
}

bool streams_rest_is_sent(const struct streams *s)
{
    return (s->out.fd < 0 || is_complete(&s->out)) && (s->err.fd < 0 || is_complete(&s->err));
}

bool streams_drained(const struct streams *s)
{
    return s->out.fd < 0 && s->err.fd < 0;
}

static bool is_due(const struct streams *s, const struct output *output)
{
    return output->fd >= 0 && (is_complete(output) ? !s->are_shared : output->window > 0);
}

bool streams_are_due(const struct streams *s)
{
    return is_due(s, &s->out) || is_due(s, &s->err);
}

bool streams_take_frame(struct streams *s, unsigned type, const unsigned char *payload, size_t length)
{
    struct output *output;
    switch (type) {
    case FRAME_HOST_STDIN:
        take_input(s, payload, length);
        return true;
    case FRAME_HOST_STDIN_EOF:
        s->input_ended = true;
        return true;
    case FRAME_HOST_WINSIZE:
        if (length == 4)
            resize(s, (unsigned short)(payload[0] | payload[1] << 8), (unsigned short)(payload[2] | payload[3] << 8));
        return true;
    case FRAME_HOST_CREDIT:
        if (length == 5 && (output = stream(s, payload[0]))) {
            uint32_t bytes = read_u32(payload + 1);
            size_t missing = OUTPUT_WINDOW - output->window;
            output->window += bytes < missing ? bytes : missing;
        }
        return true;
    case FRAME_HOST_CLOSED:
        if (length == 1 && (output = stream(s, payload[0])))
            close_output(output);
        return true;
    default:
        return false;
    }
}

static int readable(const struct streams *s, const struct output *output)
{
    return s->started && output->window && link_is_low() ? output->fd : -1;
}

void streams_poll(const struct streams *s, struct pollfd fds[3])
{
    /* poll(2) reports POLLERR without being asked: it tells that the process has closed its standard input. */
    fds[0] = (struct pollfd){.fd = s->started ? s->in : -1, .events = s->input_length ? POLLOUT : 0};
    fds[1] = (struct pollfd){.fd = readable(s, &s->out), .events = POLLIN};
    fds[2] = (struct pollfd){.fd = readable(s, &s->err), .events = POLLIN};
}
