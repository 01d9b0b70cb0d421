#include "pid1/sessions.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child/container.h"
#include "child/processes.h"
#include "child/session.h"
#include "common/common.h"
#include "common/error_text.h"
#include "pid1/birth.h"
#include "pid1/dial.h"
#include "pid1/groups.h"
#include "pid1/link.h"
#include "pid1/log.h"
#include "pid1/namespace.h"
#include "pid1/signals.h"
#include "pid1/streams.h"
#include "pid1/write_back.h"

struct session {
    unsigned number;
    char *record; /* what EXEC has brought so far; NULL when the child is there. CONTAINER: as long as the container is there */
    size_t size, room;
    int error; /* an errno: the record could not be kept; told when it is complete */
    pid_t pid; /* 0: there is no child yet */
    bool ended;
    int wait_status;
    bool has_place;
    unsigned place;             /* of PLACE: another session, or 0 */
    char group[GROUP_NAME_MAX]; /* of a container: its control group */
    bool told_ending; /* the process has ended, and others use its outputs */
    bool is_container, is_gone; /* is_gone: all processes of the container, and with them its mounts */
    int log;                    /* of a container: a file in memory with what its set-up says; -1: none */
    int layer_socket;           /* brings the directory of its changes; -1: none */
    struct write_back write_back;
    struct birth birth;
    struct dial dial; /* of a connection to a server, which has no process */
    struct streams streams;
};

static const struct process *container;
static struct session *sessions[SESSIONS_MOST]; /* by number - 1 */
static bool refused[SESSIONS_MOST]; /* there was no memory for it; told when its record is complete */

static void forget(struct session *s)
{
    sessions[s->number - 1] = NULL;
    birth_close(&s->birth);
    dial_close(&s->dial);
    streams_close(&s->streams);
    write_back_close(&s->write_back);
    if (s->log >= 0)
        close(s->log);
    if (s->layer_socket >= 0)
        close(s->layer_socket);
    free(s->record);
    free(s);
}

/* Waits a short time for the end of a container whose child has failed, and is at its end: the host takes its disks away. */
static void see_off(struct session *s)
{
    enum { WAIT_MS = 5000 };
    group_kill(s->group);
    for (int waited = 0; waited < WAIT_MS; waited++) {
        if (s->pid && !s->ended && waitpid(s->pid, NULL, WNOHANG))
            s->ended = true;
        if ((!s->pid || s->ended) && group_remove(s->group))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* Tells the host why there is no process: the last frame of the session. The child, if there is one, is reaped by its pid. */
static void fail(struct session *s, int status, const char *text, size_t length)
{
    char payload[1 + REPORT_MAX] = {(char)status};
    if (s->is_container && s->group[0])
        see_off(s);
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

/* The session that PLACE has named, if its process runs; NULL for session 0, and for one that does not. */
static const struct session *neighbour(const struct session *s)
{
    const struct session *other = s->has_place && s->place ? sessions[s->place - 1] : NULL;
    return other && other->is_container && other->pid && other->streams.started && !other->ended ? other : NULL;
}

/* Forks the child of a container, into the PID namespace that it is to have. */
static pid_t fork_container(const struct session *s)
{
    const struct session *other = neighbour(s);
    if (!s->has_place)
        return namespace_fork_into_new();
    if (other)
        return namespace_fork_into(other->pid);
    if (s->place) {
        errno = ESRCH;
        return -1;
    }
    return container->pid_namespace ? namespace_fork_into(child.pid) : fork();
}

/* In a child: lets go of the file systems of containers that are to be unmounted when these end. */
static void close_layers(void)
{
    for (size_t i = 0; i < SESSIONS_MOST; i++)
        if (sessions[i] && sessions[i]->write_back.upper >= 0)
            close(sessions[i]->write_back.upper);
}

static void start_container(struct session *s)
{
    struct child_pipes pipes = {.layer = -1, .network = -1};
    int layer[2];
    s->log = memfd_create("log", MFD_CLOEXEC);
    if (s->log < 0 || !group_make(s->number, s->group)) {
        fail_by(s, "control group");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, layer) < 0) {
        fail_by(s, "socketpair");
        return;
    }
    s->layer_socket = layer[0];
    pipes.layer = layer[1];
    if (!birth_prepare(&s->birth, s->number, &s->streams, &pipes)) {
        close(layer[1]);
        fail_by(s, "pipe");
        return;
    }
    pipes.log = s->log;
    s->pid = fork_container(s);
    if (!s->pid) {
        close_layers();
        container_main(s->record, s->size, s->group, &pipes);
    }
    birth_close_ends(&pipes);
    close(layer[1]);
    if (s->pid < 0) {
        s->pid = 0;
        fail_by(s, "fork");
    }
}

static void take_dial_news(struct session *s, enum dial_news news)
{
    char what[32];
    if (news == DIAL_DONE) {
        link_send(frame_of(s->number, FRAME_STARTED), NULL, 0);
        s->streams.started = true;
    } else if (news == DIAL_FAILED) {
        snprintf(what, sizeof what, "port %u", s->dial.port);
        fail_by(s, what);
    }
}

static const char GONE[] = "the container's process has ended";

static void dial(struct session *s, const unsigned char *payload, size_t length)
{
    if (s->pid || s->dial.port || s->record)
        return;
    if (!child.started || child.ended)
        fail(s, STATUS_SETUP_FAILED, GONE, sizeof GONE - 1);
    else if (length != 2 || !(payload[0] | payload[1]))
        fail(s, STATUS_SETUP_FAILED, "no port", 7);
    else
        take_dial_news(s, dial_begin(&s->dial, payload[0] | (unsigned)payload[1] << 8));
}

static void start(struct session *s)
{
    struct child_pipes pipes = {.log = -1, .layer = -1, .network = -1};
    const struct session *other = neighbour(s);
    struct container place = {.process = container, .pid = child.pid};
    if (s->error) {
        errno = s->error;
        fail_by(s, "exec");
        return;
    }
    if (!child.started || child.ended || (container->pod && !s->is_container && !other)) {
        fail(s, STATUS_SETUP_FAILED, GONE, sizeof GONE - 1);
        return;
    }
    if (s->is_container) {
        start_container(s);
        return;
    }
    if (other)
        place = (struct container){
            .pid = other->pid, .archive = other->record, .archive_size = other->size, .group = other->group};
    if (!birth_prepare(&s->birth, s->number, &s->streams, &pipes)) {
        fail_by(s, "pipe");
        return;
    }
    s->streams.are_shared = true;
    /* A list of the processes is made outside: the container's /proc may hide some, or be missing. */
    bool lists = !s->size;
    bool is_inside = (other || container->pid_namespace) && !lists;
    s->pid = is_inside ? namespace_fork_into(place.pid) : fork();
    if (!s->pid) {
        close_layers();
        if (lists)
            processes_main(container->pid_namespace, place.group, place.pid, &pipes);
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
static void take_record(struct session *s, bool is_container, const unsigned char *part, size_t length)
{
    if (s->pid || s->dial.port)
        return;
    s->is_container = is_container;
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
        bool is_place = type == FRAME_HOST_PLACE && container->pod, is_dial = type == FRAME_HOST_DIAL && container->sessions;
        if (type != FRAME_HOST_EXEC && !is_place && !is_dial && !(type == FRAME_HOST_CONTAINER && container->pod))
            return; /* the host sent it before it read of the session's end */
        if (refused[number - 1] || !(s = calloc(1, sizeof *s))) {
            static const char TEXT[] = {STATUS_SETUP_FAILED, 'o', 'u', 't', ' ', 'o', 'f', ' ', 'm', 'e', 'm', 'o', 'r', 'y'};
            refused[number - 1] = (length && !is_dial) || is_place;
            if (!refused[number - 1])
                link_send(frame_of(number, FRAME_FATAL), TEXT, sizeof TEXT);
            return;
        }
        s->number = number;
        s->birth.reports = s->birth.terminal = s->dial.fd = s->log = s->layer_socket = -1;
        write_back_open(&s->write_back);
        streams_open(&s->streams, number, -1, -1, -1);
        sessions[number - 1] = s;
    }
    if (type == FRAME_HOST_EXEC || (type == FRAME_HOST_CONTAINER && container->pod)) {
        take_record(s, type == FRAME_HOST_CONTAINER, payload, length);
    } else if (type == FRAME_HOST_PLACE && length == 1 && payload[0] <= SESSIONS_MOST && container->pod) {
        s->has_place = true;
        s->place = payload[0];
    } else if (type == FRAME_HOST_DIAL && container->sessions) {
        dial(s, payload, length);
    } else if (type == FRAME_HOST_SIGNAL && length == 1) {
        if (s->pid && !s->ended)
            kill(s->pid, payload[0]);
        else if (payload[0] == SIGKILL)
            write_back_stop(&s->write_back);
    } else if (!streams_take_frame(&s->streams, type, payload, length))
        log_warn("init: unknown frame 0x%02x of session %u from the host\n", type, number);
}

static void child_ended(pid_t pid, int status)
{
    for (size_t i = 0; i < SESSIONS_MOST; i++)
        if (sessions[i] && write_back_child_ended(&sessions[i]->write_back, pid)) {
            return;
        } else if (sessions[i] && sessions[i]->pid == pid) {
            sessions[i]->ended = sessions[i]->streams.ended = true;
            sessions[i]->wait_status = status;
            streams_lose_input(&sessions[i]->streams);
            streams_close_terminal_end(&sessions[i]->streams);
            if (sessions[i]->is_container)
                group_kill(sessions[i]->group);
        }
}

void sessions_allow(const struct process *of_container)
{
    container = of_container;
    link_allow_sessions();
    reap_tells(child_ended);
}

/* The set-up of a container has said why it failed. */
static void fail_as_its_log_says(struct session *s)
{
    static char text[REPORT_MAX];
    off_t end = lseek(s->log, 0, SEEK_END), from = end > REPORT_MAX ? end - REPORT_MAX : 0;
    ssize_t length = pread(s->log, text, sizeof text, from);
    while (length > 0 && text[length - 1] == '\n')
        length--;
    fail(s, STATUS_SETUP_FAILED, text, length > 0 ? (size_t)length : 0);
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
        if (!length && s->log >= 0)
            fail_as_its_log_says(s);
        else
            fail(s, status, text, length);
        return;
    case BIRTH_DONE:
        if (s->is_container) {
            write_back_take(&s->write_back, s->layer_socket);
            s->layer_socket = -1;
        }
        link_send(frame_of(s->number, FRAME_STARTED), NULL, 0);
        s->streams.started = true;
        if (s->ended)
            streams_close_terminal_end(&s->streams);
    }
}

/* Whether the process has ended, and all that it has written is sent, but others may write more. */
static bool ending_is_due(const struct session *s)
{
    return s->ended && s->streams.are_shared && !s->told_ending && !streams_drained(&s->streams) &&
           streams_rest_is_sent(&s->streams);
}

void sessions_relay(void)
{
    static size_t first; /* take turns: none is always in front */
    first++;
    for (size_t i = 0; i < SESSIONS_MOST; i++) {
        struct session *s = sessions[(first + i) % SESSIONS_MOST];
        if (!s || !s->streams.started)
            continue;
        if (s->is_container && s->ended && !s->is_gone)
            s->is_gone = group_remove(s->group);
        bool is_over = s->ended && (s->is_gone || !s->is_container);
        if (is_over && link_has_room())
            write_back_proceed(&s->write_back, s->number);
        streams_relay(&s->streams, is_over && !s->told_ending);
        if (is_over && ending_is_due(s) && link_has_room()) {
            uint8_t status = status_of(s->wait_status);
            link_send(frame_of(s->number, FRAME_ENDING), &status, 1);
            s->told_ending = true;
        }
        if (s->dial.port && streams_drained(&s->streams) && (s->streams.in < 0 || s->streams.was_cut_off))
            s->ended = is_over = true;
        if (is_over && !write_back_is_pending(&s->write_back) && streams_drained(&s->streams) && link_has_room()) {
            uint8_t status = s->dial.port ? s->streams.was_cut_off : status_of(s->wait_status);
            link_send(frame_of(s->number, FRAME_EXIT), &status, 1);
            forget(s);
        }
    }
}

bool sessions_are_due(void)
{
    for (size_t i = 0; i < SESSIONS_MOST; i++) {
        const struct session *s = sessions[i];
        if (s && s->is_container && s->ended && !s->is_gone)
            return true;
        if (s && s->write_back.pid && !s->write_back.has_ended)
            continue; /* its end is a signal */
        if (!s || !s->streams.started || !s->ended)
            continue;
        if (streams_drained(&s->streams) || ending_is_due(s) || (!s->told_ending && streams_are_due(&s->streams)))
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
            its[3] = sessions[i]->dial.fd >= 0 ? (struct pollfd){.fd = sessions[i]->dial.fd, .events = POLLOUT}
                                               : (struct pollfd){.fd = sessions[i]->birth.reports, .events = POLLIN};
            polled[count++] = (unsigned char)i;
        }
    return SESSION_POLLS * count;
}

void sessions_handle(const struct pollfd *fds, size_t count)
{
    for (size_t n = 0; n < count / SESSION_POLLS; n++) {
        const struct pollfd *its = fds + SESSION_POLLS * n;
        struct session *s = sessions[polled[n]];
        if (s && ((its[0].revents & POLLERR) || streams_lost_connection(&s->streams, its[0].revents)))
            streams_lose_input(&s->streams);
        if (!s || !its[3].revents || !link_has_room())
            continue;
        if (s->dial.fd >= 0)
            take_dial_news(s, dial_proceed(&s->dial, &s->streams));
        else
            take_report(s);
    }
}
