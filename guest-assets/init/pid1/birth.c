#include "pid1/birth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/common.h"
#include "common/descriptor.h"
#include "common/error_text.h"

static void set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void birth_close(struct birth *b)
{
    close_one(&b->reports);
    close_one(&b->terminal);
}

void birth_close_ends(const struct child_pipes *pipes)
{
    const int ends[] = {pipes->in, pipes->out, pipes->err, pipes->report, pipes->terminal};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (ends[i] >= 0)
            close(ends[i]);
}

bool birth_prepare(struct birth *b, unsigned session, struct streams *streams, struct child_pipes *pipes)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}, report[2] = {-1, -1}, terminal[2] = {-1, -1};
    bool made = pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0 &&
                pipe2(report, O_CLOEXEC) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, terminal) == 0;
    int error = errno;
    pipes->in = in[0];
    pipes->out = out[1];
    pipes->err = err[1];
    pipes->report = report[1];
    pipes->terminal = terminal[1];
    b->reports = report[0];
    b->terminal = terminal[0];
    streams_open(streams, session, in[1], out[0], err[0]);
    if (!made) {
        birth_close_ends(pipes);
        birth_close(b);
        streams_close(streams);
        errno = error;
        return false;
    }
    const int own[] = {in[1], out[0], err[0], report[0]};
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        set_nonblocking(own[i]);
    return true;
}

/* The pipe has ended: the child has executed the process, or has failed, or is dead. */
static enum birth_outcome judge(struct birth *b, struct streams *streams, int *status, const char **text, size_t *length)
{
    *status = STATUS_SETUP_FAILED;
    *text = "the set-up was killed: by the seccomp profile, or for lack of memory";
    for (size_t i = 0; i + 1 < b->length; i++)
        if (b->text[i] == REPORT_FAILED) { /* first, or after REPORT_EXECUTING */
            *status = b->text[i + 1];
            *text = (const char *)b->text + i + 2;
            *length = b->length - i - 2;
            return BIRTH_FAILED;
        }
    if (b->length && b->text[b->length - 1] == REPORT_EXECUTING) {
        int master = descriptor_receive(b->terminal);
        b->terminal = -1;
        if (master < 0)
            return BIRTH_DONE; /* it has pipes */
        set_nonblocking(master);
        if (streams_open_terminal(streams, master))
            return BIRTH_DONE;
        *text = reason(errno);
    }
    *length = strlen(*text);
    return BIRTH_FAILED;
}

enum birth_outcome birth_take_report(struct birth *b, struct streams *streams, int *status, const char **text, size_t *length)
{
    ssize_t count = read(b->reports, b->text + b->length, sizeof b->text - b->length);
    if (count > 0) {
        b->length += (size_t)count;
        return BIRTH_GOES_ON;
    }
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return BIRTH_GOES_ON;
    close_one(&b->reports);
    return judge(b, streams, status, text, length);
}
