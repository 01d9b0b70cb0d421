#include "pid1/sessions.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child/processes.h"
#include "child/session.h"
#include "common/common.h"
#include "common/error_text.h"
#include "pid1/birth.h"
#include "pid1/link.h"
#include "pid1/log.h"
#include "pid1/namespace.h"
#include "pid1/signals.h"
#include "pid1/streams.h"

struct session {
    unsigned number;
    char *record; /* what EXEC has brought so far; NULL when the child is there */
    size_t size, room;
    int error; /* an errno: the record could not be kept; told when it is complete */
    pid_t pid; /* 0: there is no child yet */
    bool ended;
    int wait_status;
    struct birth birth;
    struct streams streams;
};

static const struct process *container;
static struct session *sessions[SESSIONS_MOST]; /* by number - 1 */
static bool refused[SESSIONS_MOST]; /* there was no memory for it; told when its record is complete */

static void forget(struct session *s)
{
    sessions[s->number - 1] = NULL;
    birth_close(&s->birth);
    streams_close(&s->streams);
    free(s->record);
    free(s);
}

/* Tells the host why there is no process: the last frame of the session. The child, if there is one, is reaped by its pid. */
static void fail(struct session *s, int status, const char *text, size_t length)
{
    char payload[1 + REPORT_MAX] = {(char)status};
    if (length > REPORT_MAX)
        length = REPORT_MAX;
    memcpy(payload + 1, text, length);
    link_send(frame_of(s->number, FRAME_FATAL), payload, 1 + length);
    forget(s);
}

static void fail_by(struct session *s, const char *what)
{
    char text[200];
    int length = snprintf(text, sizeof text, "%s: %s", what, reason(errno));
    fail(s, STATUS_SETUP_FAILED, text, (size_t)length);
}

static void start(struct session *s)
{
    struct child_pipes pipes = {.log = -1, .layer = -1, .network = -1};
    struct container place = {container, child.pid};
    static const char GONE[] = "the container's process has ended";
    if (s->error) {
        errno = s->error;
        fail_by(s, "exec");
        return;
    }
    if (!child.started || child.ended) {
        fail(s, STATUS_SETUP_FAILED, GONE, sizeof GONE - 1);
        return;
    }
    if (!birth_prepare(&s->birth, s->number, &s->streams, &pipes)) {
        fail_by(s, "pipe");
        return;
    }
    /* A list of the processes is made outside: the container's /proc may hide some, or be missing. */
    bool lists = !s->size;
    s->pid = container->pid_namespace && !lists ? namespace_fork_into(child.pid) : fork();
    if (!s->pid) {
        if (lists)
            processes_main(container->pid_namespace, &pipes);
        s->record[s->size] = '\0';
        session_main(s->record, s->size, &place, &pipes);
    }
    birth_close_ends(&pipes);
    free(s->record);
    s->record = NULL;
    if (s->pid < 0) {
        s->pid = 0;
        fail_by(s, "fork");
    }
}

/* Takes a part of the record. The empty one is the end. */
static void take_record(struct session *s, const unsigned char *part, size_t length)
{
    if (s->pid)
        return;
    if (!length) {
        start(s);
        return;
    }
    if (s->size + length >= s->room) {
        size_t room = 2 * s->room + FRAME_PAYLOAD_MAX + 1; /* and a NUL */
        char *record = s->size + length > RECORD_LIMIT ? NULL : realloc(s->record, room);
        if (!record) {
            s->error = s->size + length > RECORD_LIMIT ? E2BIG : ENOMEM;
            return;
        }
        s->record = record;
        s->room = room;
    }
    memcpy(s->record + s->size, part, length);
    s->size += length;
}

void sessions_take_frame(unsigned number, unsigned type, const unsigned char *payload, size_t length)
{
    struct session *s = sessions[number - 1];
    if (!s) {
        if (type != FRAME_HOST_EXEC)
            return; /* the host sent it before it read of the session's end */
        if (refused[number - 1] || !(s = calloc(1, sizeof *s))) {
            static const char TEXT[] = {STATUS_SETUP_FAILED, 'o', 'u', 't', ' ', 'o', 'f', ' ', 'm', 'e', 'm', 'o', 'r', 'y'};
            refused[number - 1] = length;
            if (!length)
                link_send(frame_of(number, FRAME_FATAL), TEXT, sizeof TEXT);
            return;
        }
        s->number = number;
        s->birth.reports = s->birth.terminal = -1;
        streams_open(&s->streams, number, -1, -1, -1);
        sessions[number - 1] = s;
    }
    if (type == FRAME_HOST_EXEC)
        take_record(s, payload, length);
    else if (type == FRAME_HOST_SIGNAL && length == 1) {
        if (s->pid && !s->ended)
            kill(s->pid, payload[0]);
    } else if (!streams_take_frame(&s->streams, type, payload, length))
        log_warn("init: unknown frame 0x%02x of session %u from the host\n", type, number);
}

static void child_ended(pid_t pid, int status)
{
    for (size_t i = 0; i < SESSIONS_MOST; i++)
        if (sessions[i] && sessions[i]->pid == pid) {
            sessions[i]->ended = sessions[i]->streams.ended = true;
            sessions[i]->wait_status = status;
            streams_lose_input(&sessions[i]->streams);
            streams_close_terminal_end(&sessions[i]->streams);
        }
}

void sessions_allow(const struct process *of_container)
{
    container = of_container;
    link_allow_sessions();
    reap_tells(child_ended);
}

static void take_report(struct session *s)
{
    int status;
    const char *text;
    size_t length;
    switch (birth_take_report(&s->birth, &s->streams, &status, &text, &length)) {
    case BIRTH_GOES_ON:
        return;
    case BIRTH_FAILED:
        fail(s, status, text, length);
        return;
    case BIRTH_DONE:
        link_send(frame_of(s->number, FRAME_STARTED), NULL, 0);
        s->streams.started = true;
        if (s->ended)
            streams_close_terminal_end(&s->streams);
    }
}

void sessions_relay(void)
{
    static size_t first; /* take turns: none is always in front */
    first++;
    for (size_t i = 0; i < SESSIONS_MOST; i++) {
        struct session *s = sessions[(first + i) % SESSIONS_MOST];
        if (!s || !s->streams.started)
            continue;
        /* What others still have open is no output of this process any more. */
        streams_relay(&s->streams, s->ended);
        if (s->ended && streams_drained(&s->streams) && link_has_room()) {
            link_send(frame_of(s->number, FRAME_EXIT), (uint8_t[]){status_of(s->wait_status)}, 1);
            forget(s);
        }
    }
}

bool sessions_are_due(void)
{
    for (size_t i = 0; i < SESSIONS_MOST; i++) {
        const struct session *s = sessions[i];
        if (s && s->streams.started && s->ended &&
            (streams_drained(&s->streams) || (s->streams.out.fd >= 0 && s->streams.out.window) ||
             (s->streams.err.fd >= 0 && s->streams.err.window)))
            return true;
    }
    return false;
}

static unsigned char polled[SESSIONS_MOST]; /* the sessions whose descriptors are polled, by index */

size_t sessions_poll(struct pollfd fds[SESSIONS_POLLS])
{
    size_t count = 0;
    for (size_t i = 0; i < SESSIONS_MOST; i++)
        if (sessions[i]) {
            struct pollfd *its = fds + SESSION_POLLS * count;
            streams_poll(&sessions[i]->streams, its);
            its[3] = (struct pollfd){.fd = sessions[i]->birth.reports, .events = POLLIN};
            polled[count++] = (unsigned char)i;
        }
    return SESSION_POLLS * count;
}

void sessions_handle(const struct pollfd *fds, size_t count)
{
    for (size_t n = 0; n < count / SESSION_POLLS; n++) {
        const struct pollfd *its = fds + SESSION_POLLS * n;
        struct session *s = sessions[polled[n]];
        if (s && (its[0].revents & POLLERR))
            streams_lose_input(&s->streams);
        if (s && its[3].revents && link_has_room())
            take_report(s);
    }
}
