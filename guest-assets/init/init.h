/* Shared by the parts of /init (docs/guest.md) and inroot. */
#ifndef RUNX_INIT_H
#define RUNX_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#define NEWROOT "/newroot"
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The status a container ends with when its process never ran (docs/console-link.md, FATAL). */
enum { STATUS_SETUP_FAILED = 125, STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 };

/* text.c */

/* strerror() with a small first letter: callers of OCI runtimes look for "no such file or directory". */
const char *reason(int error);

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
    FRAME_HOST_STDIN = 0x41,
    FRAME_HOST_STDIN_EOF = 0x42,
    FRAME_HOST_SIGNAL = 0x43,
    FRAME_HOST_WINSIZE = 0x44,
    FRAME_HOST_CREDIT = 0x45,
    FRAME_HOST_CLOSED = 0x46,
};

enum { FRAME_HEADER = 4, FRAME_PAYLOAD_MAX = 4096, LINK_VERSION = 1 };

/* Opens the console DEVICE raw and non-blocking, waiting up to a minute for its backend. Returns -1 with errno. */
int link_open(const char *device);
/* The console's descriptor and the poll(2) events wanted of it. */
int link_fd(void);
short link_events(void);
/* Room for another full frame of data, with enough kept free for every control frame that may follow. */
bool link_has_room(void);
/* Queues a frame. Frames that do not fit are a fault of the caller and are dropped whole, never torn. */
void link_send(enum frame_type type, const void *payload, size_t length);
/* Reads at most LIMIT bytes from FD straight into a frame. Returns what read(2) returned; 0 and errors queue nothing. */
ssize_t link_send_from(enum frame_type type, int fd, size_t limit);
/* Moves queued bytes to the console and takes input from it. Both return false when the console is gone. */
bool link_flush(void);
bool link_receive(void (*handle)(unsigned type, const unsigned char *payload, size_t length));
bool link_is_empty(void);

/* process.c: /runx/process, and the child that becomes the process. */

struct limit {
    int resource;
    struct rlimit value;
};

enum capability_set { CAP_BOUNDING, CAP_EFFECTIVE, CAP_INHERITABLE, CAP_PERMITTED, CAP_AMBIENT, CAP_SETS };

struct process {
    char **args; /* NULL terminated */
    char **env;  /* NULL terminated, with room for one entry more */
    const char *cwd;
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t group_count;
    mode_t umask;
    struct limit *limits;
    size_t limit_count;
    bool has_capabilities;
    uint64_t capabilities[CAP_SETS];
    bool no_new_privs;
    bool has_oom_score_adj;
    const char *oom_score_adj;
    bool pid_namespace;
    bool terminal;
    unsigned short rows, columns;
};

/* Reads PATH into P. Returns NULL, or a message about the first fault. */
const char *process_read(const char *path, struct process *p);

/* The ends of the pipes that the child keeps. */
struct child_pipes {
    int in, out, err; /* the process's standard streams */
    int log;          /* what the setup script prints */
    int report;       /* close-on-exec: REPORT_* messages */
};

/* A report is 'F', status, text when something failed (no text: the script's output says it), 'E' just before execve. */
enum { REPORT_FAILED = 'F', REPORT_EXECUTING = 'E', REPORT_MAX = 2048 };

/* In the child: assembles the root with the setup script, enters it and executes the process. Never returns. */
_Noreturn void process_become(struct process *p, const struct child_pipes *pipes);

/* execute.c: the last steps, inside the root. */
_Noreturn void process_execute(struct process *p, int report);
_Noreturn void report_failure(int report, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* inroot.c */
int inroot_main(int argc, char **argv);

#endif
