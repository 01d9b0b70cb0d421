/* The host has a share for this alone. It is not there while processes of the container run: PID 1 asks for it by LAYER. The
 * child of PID 1 that writes has a mount namespace of its own, so the share is unmounted, and everything sent, when it ends. */
#include "pid1/write_back.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/descriptor.h"
#include "common/error_text.h"
#include "common/spawn.h"
#include "layer/writer.h"
#include "pid1/end.h"
#include "pid1/ending.h"
#include "pid1/link.h"
#include "pid1/signals.h"

#define PLACE "/layer"
#define TAG "layer"
#define CHANGES PLACE "/changes" /* runx/exec/ninep/export_names.py */
/* cache=none, noxattr: each write is one message, and the host answers it when it has done what it says. Of a message, a ring of
 * the share holds two. */
#define OPTIONS "trans=xen,version=9p2000.L,cache=none,msize=65536,noxattr"

enum {
    SHARE_WAIT_MS = 60 * 1000, /* for the share to appear */
    SHARE_RETRY_MS = 5,
    /* A process that waits for an answer of the host's server cannot be killed (Linux, net/9p/client.c, p9_client_flush), and a
     * server that has been killed never answers. The layer is on its disk: sync(2) came before. */
    WRITER_STUCK_MS = 1000,
    MANY_FILES = 65536, /* two for each level of directories, and the share */
};

enum outcome { WRITTEN = 0, NOT_WRITTEN = 1 }; /* of WRITTEN_BACK */

static int upper = -1; /* of the container's overlay */
static struct timespec changed_at;
static bool stop; /* the host has sent SIGKILL */

void write_back_take(int socket)
{
    struct stat status;
    upper = descriptor_receive(socket);
    if (upper >= 0 && fstat(upper, &status) == 0)
        changed_at = status.st_ctim;
}

static bool has_entries(void)
{
    struct stat status;
    /* Each name that is made in a directory changes its time. */
    return fstat(upper, &status) < 0 || status.st_ctim.tv_sec != changed_at.tv_sec ||
           status.st_ctim.tv_nsec != changed_at.tv_nsec || layer_has_entries(upper);
}

static void tell(enum outcome outcome, const struct written *written)
{
    unsigned char payload[FRAME_PAYLOAD_MAX] = {(unsigned char)outcome};
    size_t length = strlen(written->problem);
    memcpy(payload + WRITTEN_BACK_HEADER, written->problem, length);
    link_send(FRAME_WRITTEN_BACK, payload, WRITTEN_BACK_HEADER + length);
}

/* Mounts the share, which the host makes meanwhile: there is no such tag until then. Returns an errno. */
static int mount_share(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        (mkdir(PLACE, 0700) < 0 && errno != EEXIST))
        return errno;
    for (int waited = 0; waited < SHARE_WAIT_MS; waited += SHARE_RETRY_MS) {
        if (mount(TAG, PLACE, "9p", MS_NOSUID | MS_NODEV | MS_NOEXEC, OPTIONS) == 0)
            return 0;
        if (errno != EINVAL && errno != ENOENT)
            return errno;
        nanosleep(&(struct timespec){.tv_nsec = SHARE_RETRY_MS * 1000000L}, NULL);
    }
    return errno;
}

/* The child: its result goes into the pipe. */
static _Noreturn void be_writer(int result)
{
    static struct written written;
    restore_signals();
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = MANY_FILES, .rlim_max = MANY_FILES});
    int error = mount_share();
    int changes = error ? -1 : open(CHANGES, O_WRONLY | O_CLOEXEC);
    if (changes < 0)
        snprintf(written.problem, sizeof written.problem, "mounting the share " TAG ": %s", reason(error ? error : errno));
    else
        layer_write(upper, changes, &written);
    _exit(write(result, &written, sizeof written) != sizeof written);
}

static void take_frame(unsigned kind, unsigned char *payload, size_t length)
{
    if (kind == FRAME_HOST_SIGNAL && length == 1 && payload[0] == SIGKILL)
        stop = true; /* other signals are for a process that has ended */
}

/* Serves the link until the child has ended, or WRITER_STUCK_MS after KILL; whether it has. */
static bool has_ended(pid_t pid)
{
    struct timespec killed_at;
    bool killed = false;
    /* Its end unmounts the share. */
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        struct signalfd_siginfo children;
        struct pollfd fds[] = {{.fd = link_fd(), .events = link_events()}, {.fd = signals_fd(), .events = POLLIN}};
        if (stop && !killed) {
            kill(pid, SIGKILL);
            clock_gettime(CLOCK_MONOTONIC, &killed_at);
            killed = true;
        }
        if (killed && since_ms(&killed_at) > WRITER_STUCK_MS)
            return false;
        if (!link_flush())
            hang_up();
        poll(fds, 2, link_is_empty() && !killed ? -1 : RETRY_MS);
        if ((fds[0].revents & ~POLLOUT) && !link_receive(take_frame))
            hang_up();
        while (read(signals_fd(), &children, sizeof children) > 0)
            ; /* what is for the process comes too late */
    }
    return true;
}

static void wait_for(pid_t pid, int result, struct written *written)
{
    if (has_ended(pid) && read(result, written, sizeof *written) == sizeof *written) {
        written->problem[sizeof written->problem - 1] = '\0';
        return;
    }
    *written = (struct written){0};
    snprintf(written->problem, sizeof written->problem, stop ? "SIGKILL came" : "the process that writes it has died");
}

void write_back(bool stuck)
{
    static struct written written;
    int result[2];
    if (upper < 0)
        return;
    if (stuck) {
        snprintf(written.problem, sizeof written.problem, "a process of the container does not end");
        tell(NOT_WRITTEN, &written);
    } else if (has_entries()) {
        pid_t pid = pipe2(result, O_CLOEXEC) < 0 ? -1 : fork();
        if (pid == 0)
            be_writer(result[1]);
        if (pid < 0) {
            snprintf(written.problem, sizeof written.problem, "a process for it: %s", reason(errno));
        } else {
            close(result[1]);
            link_send(FRAME_LAYER, NULL, 0);
            wait_for(pid, result[0], &written);
            close(result[0]);
        }
        tell(written.problem[0] ? NOT_WRITTEN : WRITTEN, &written);
    } else {
        tell(WRITTEN, &written); /* nothing: the host needs no share for that */
    }
    /* The last use of the layer's file system, which is unmounted now. */
    close(upper);
    upper = -1;
}
