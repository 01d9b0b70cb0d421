#include "pid1/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pid1/link.h"

enum { TAIL_SIZE = 1024 };

static int fd = -1;
static size_t logged; /* bytes in LOG frames so far */
static char tail[TAIL_SIZE];
static size_t tail_length;
static bool tail_cut; /* the tail may begin within a line */

void log_open(int scripts)
{
    fd = scripts;
}

int log_fd(void)
{
    return fd;
}

/* Adds TEXT to the tail. */
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

const char *log_tail(size_t *length)
{
    const char *text = tail;
    *length = tail_length;
    while (*length && text[*length - 1] == '\n')
        --*length;
    const char *newline = tail_cut ? memchr(text, '\n', *length) : NULL;
    if (newline) {
        *length -= (size_t)(newline + 1 - text);
        text = newline + 1;
    }
    return text;
}
