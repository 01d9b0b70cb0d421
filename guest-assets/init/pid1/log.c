/* What the setup script prints: LOG frames, and the reason when it fails. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

enum {
    LOG_LIMIT = 64 * 1024, /* of all LOG frames together */
    TAIL_SIZE = 1024,
};

static int fd = -1;
static size_t logged;
static char tail[TAIL_SIZE];
static size_t tail_length;
static bool tail_cut;

void log_open(int script)
{
    fd = script;
}

int log_fd(void)
{
    return fd;
}

static void remember(const char *text, size_t length)
{
    if (length > TAIL_SIZE) {
        text += length - TAIL_SIZE;
        length = TAIL_SIZE;
        tail_cut = true;
    }
    if (tail_length + length > TAIL_SIZE) {
        size_t drop = tail_length + length - TAIL_SIZE;
        memmove(tail, tail + drop, tail_length - drop);
        tail_length -= drop;
        tail_cut = true;
    }
    memcpy(tail + tail_length, text, length);
    tail_length += length;
}

static void send_log(const char *text, size_t length)
{
    if (length > LOG_LIMIT - logged)
        length = LOG_LIMIT - logged;
    if (length)
        link_send(FRAME_LOG, text, length);
    logged += length;
}

void log_warn(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (link_has_room())
        send_log(text, strlen(text));
}

void log_relay(void)
{
    char text[FRAME_PAYLOAD_MAX];
    while (fd >= 0 && link_has_room()) {
        ssize_t count = read(fd, text, sizeof text);
        if (count > 0) {
            remember(text, (size_t)count);
            send_log(text, (size_t)count);
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else {
            if (count == 0 || errno != EAGAIN) {
                close(fd);
                fd = -1;
            }
            return;
        }
    }
}

void log_fail(void)
{
    char *text = tail;
    size_t length = tail_length;
    while (length && text[length - 1] == '\n')
        length--;
    if (tail_cut) {
        char *line = memchr(text, '\n', length);
        if (line) {
            length -= (size_t)(line + 1 - text);
            text = line + 1;
        }
    }
    if (!length)
        fatal(STATUS_SETUP_FAILED, "the setup script failed and printed nothing");
    fatal(STATUS_SETUP_FAILED, "%.*s", (int)length, text);
}
