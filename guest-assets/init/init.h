/* Shared by the parts of /init (docs/guest.md) and inroot. */
#ifndef RUNX_INIT_H
#define RUNX_INIT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/report.h"
#include "common/spawn.h"

/* link.c: frames over the console, no knowledge of what they mean. */

enum frame_type {
    FRAME_HELLO = 0x01,
    FRAME_LOG = 0x02,
    FRAME_FATAL = 0x03,
    FRAME_STARTED = 0x04,
    FRAME_STDOUT = 0x05,
    FRAME_STDERR = 0x06,
    FRAME_EXIT = 0x07,
    FRAME_CREDIT = 0x08,
    FRAME_STDIN_CLOSED = 0x09,
    FRAME_QUESTION = 0x0a,
    FRAME_HOST_STDIN = 0x41,
    FRAME_HOST_STDIN_EOF = 0x42,
    FRAME_HOST_SIGNAL = 0x43,
    FRAME_HOST_WINSIZE = 0x44,
    FRAME_HOST_CREDIT = 0x45,
    FRAME_HOST_CLOSED = 0x46,
    FRAME_HOST_NETWORK = 0x47,
    FRAME_HOST_NAMES = 0x48,
    FRAME_HOST_ANSWER = 0x49,
};

enum { FRAME_HEADER = 4, FRAME_PAYLOAD_MAX = 4096, LINK_VERSION = 1 };

/* Opens the console DEVICE raw and non-blocking, waiting up to a minute for its backend. Returns -1 with errno. */
int link_open(const char *device);
/* The console's descriptor and the poll(2) events wanted of it. */
int link_fd(void);
short link_events(void);
/* Room for another full frame of data, with enough kept free for every control frame that may follow. */
bool link_has_room(void);
/* Little is waiting for the console: time to read more of what is to be sent. In batches, as every look costs system calls. */
bool link_is_low(void);
/* Queues a frame. Frames that do not fit are a fault of the caller and are dropped whole, never torn. */
void link_send(enum frame_type type, const void *payload, size_t length);
/* Reads at most LIMIT bytes from FD straight into a frame. Returns what read(2) returned; 0 and errors queue nothing. */
ssize_t link_send_from(enum frame_type type, int fd, size_t limit);
/* Moves queued bytes to the console and takes input from it. Both return false when the console is gone. */
bool link_flush(void);
bool link_receive(void (*handle)(unsigned type, unsigned char *payload, size_t length));
bool link_is_empty(void);

#include "child/main.h"
#include "child/process.h"
#include "child/process_file.h"
#include "child/terminal.h"

/* network.c */

/* Starts /runx/network, if there is one, with LOG as its output. With FOLLOWS it is begun when the host has sent it. */
void network_start(int log, bool follows);
/* Part of a script that the host sends; no LENGTH: it is whole. */
void network_receive(const unsigned char *part, size_t length);
/* Closes this process's end of the pipe for such a script; its reader sees the end when no process has one. */
void network_forget(void);
/* Gives a line when the network is up; -1 without a network. */
int network_line(void);

/* names.c */

/* Begins to serve at an IPv4 address, whose bytes these are. */
void names_serve(const unsigned char *address, size_t length);
/* What to poll for questions, -1 without any. */
int names_fd(void);
/* Hands on the questions that have come, as long as the link has room. */
void names_relay(void);
/* An answer from the host; changes it. */
void names_answer(unsigned char *message, size_t length);

/* log.c: what the setup script prints, and warnings of our own. */
void log_open(int script);
int log_fd(void);
void log_relay(void);
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the guest with the last whole lines of what the script printed as the reason. */
_Noreturn void log_fail(void);

/* signals.c: the process seen from outside. */
extern struct child {
    pid_t pid;
    bool in_pid_namespace;
    bool started;  /* execve has succeeded */
    bool ended;    /* and has been waited for */
    bool any_left; /* this process still has children of any kind */
    struct timespec ended_at;
} child;

void signals_watch(void);
int signals_fd(void);
void signals_take(void);
/* Sends the process a signal, now or once it has started. */
void deliver(int number);
/* Tells that execve has succeeded: what deliver() has kept goes out. */
void child_started(void);
/* Waits for children that have ended. */
void reap(void);
uint8_t exit_status(void);

/* streams.c: standard input, output and error of the process. */
void streams_open(int in, int out, int err);
/* Instead: all of them will be a terminal, and then are one, with this master. */
void streams_await_terminal(void);
void streams_open_terminal(int master);
/* Moves what can be moved. AT_END: a pipe that gives nothing now is taken for closed. */
void streams_relay(bool at_end);
bool streams_drained(void);
/* False for a frame that is none of theirs. */
bool streams_take_frame(unsigned type, const unsigned char *payload, size_t length);
/* What to wait for: standard input first. */
void streams_poll(struct pollfd fds[3]);
/* The process has closed its standard input, or is gone. */
void streams_lose_input(void);

/* kernel_log.c */
void kernel_log_open(void);
/* Logs the processes that the kernel ended for want of memory since then. */
void kernel_log_tell(void);

/* memory.c */
/* Begins to watch how much processes wait for memory. */
void memory_watch(void);
/* What to poll for POLLPRI, -1 when the kernel does not tell. */
int memory_fd(void);
/* Makes the kernel find memory, or end a process. */
void memory_want(void);

/* end.c */
enum {
    /* How long processes that ignore SIGKILL (stuck in the kernel) may hold up the end. */
    STUCK_MS = 10 * 1000,
    /* poll(2) on a console may miss that there is room again; look often enough that it does not show. */
    RETRY_MS = 50,
};
_Noreturn void power_off(void);
/* Sends the last frame, which finds room whatever is queued, and ends the machine when the console has taken it. */
_Noreturn void finish(enum frame_type type, const void *payload, size_t length);
/* The console is gone: the host has hung up, nobody is left to run for. */
_Noreturn void hang_up(void);
/* Sends FATAL with a reason as the last frame. */
_Noreturn void fatal(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* SIGKILL for every process but this one. */
void kill_everything(void);

#include "inroot/main.h"

/* neighbour.c: add-neighbour, likewise. */
int neighbour_main(int argc, char **argv);

#endif
