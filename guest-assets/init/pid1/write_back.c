/* The host has a share for this alone. It is not there while processes of the container run: PID 1 asks for it by LAYER. The
 * child of PID 1 that writes has a mount namespace of its own, so the share is unmounted, and everything sent, when it ends. In the
 * machine of a pod, it is an entry of the pod's share that is not there. */
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
#include <sys/syscall.h>
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
#define POD_CHANGES "/shares/pod/c" /* and a session, as there */
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

static bool stop; /* the host has sent SIGKILL */

void write_back_open(struct write_back *w)
{
    *w = (struct write_back){.upper = -1, .result = -1};
}

void write_back_take(struct write_back *w, int socket)
{
    struct stat status;
    w->upper = descriptor_receive(socket);
    if (w->upper >= 0 && fstat(w->upper, &status) == 0)
        w->changed_at = status.st_ctim;
}

static bool has_entries(const struct write_back *w)
{
    struct stat status;
    /* Each name that is made in a directory changes its time. */
    return fstat(w->upper, &status) < 0 || status.st_ctim.tv_sec != w->changed_at.tv_sec ||
           status.st_ctim.tv_nsec != w->changed_at.tv_nsec || layer_has_entries(w->upper);
}

static void tell(unsigned session, const struct written *written)
{
    unsigned char payload[FRAME_PAYLOAD_MAX] = {(unsigned char)(written->problem[0] ? NOT_WRITTEN : WRITTEN)};
    size_t length = strlen(written->problem);
    memcpy(payload + WRITTEN_BACK_HEADER, written->problem, length);
    link_send(frame_of(session, FRAME_WRITTEN_BACK), payload, WRITTEN_BACK_HEADER + length);
}

/* Waits a little for what the host makes. WAITED: ms so far. Returns false, with errno as it was, when that is too long. */
static bool wait_for_host(int *waited)
{
    int error = errno;
    nanosleep(&(struct timespec){.tv_nsec = SHARE_RETRY_MS * 1000000L}, NULL);
    errno = error;
    *waited += SHARE_RETRY_MS;
    return *waited < SHARE_WAIT_MS;
}

/* Mounts the share, which the host makes meanwhile: there is no such tag until then. Returns an errno. */
static int mount_share(void)
{
    int waited = 0;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        (mkdir(PLACE, 0700) < 0 && errno != EEXIST))
        return errno;
    do {
        if (mount(TAG, PLACE, "9p", MS_NOSUID | MS_NODEV | MS_NOEXEC, OPTIONS) == 0)
            return 0;
    } while ((errno == EINVAL || errno == ENOENT) && wait_for_host(&waited));
    return errno;
}

/* Opens the entry of the pod's share for a session, which the host makes meanwhile. Returns -1 with errno. */
static int open_entry(unsigned session)
{
    char path[sizeof POD_CHANGES + 10];
    int fd, waited = 0;
    snprintf(path, sizeof path, POD_CHANGES "%u", session);
    do
        fd = open(path, O_WRONLY | O_CLOEXEC);
    while (fd < 0 && errno == ENOENT && wait_for_host(&waited));
    return fd;
}

/* Closes all but two descriptors: pipes and layers of the pod's other containers are not this child's to hold. */
static void keep_only(int *upper, int *result)
{
    enum { UPPER = 3, RESULT, END };
    int high = fcntl(*upper, F_DUPFD, END), other = fcntl(*result, F_DUPFD, END);
    if (high < 0 || other < 0 || dup2(high, UPPER) < 0 || dup2(other, RESULT) < 0)
        _exit(1);
    syscall(SYS_close_range, END, ~0U, 0);
    *upper = UPPER;
    *result = RESULT;
}

/* The child: its result goes into the pipe. SESSION 0: there is a share. */
static _Noreturn void be_writer(int upper, int result, unsigned session)
{
    static struct written written;
    int error = 0, changes = -1;
    restore_signals();
    if (session)
        keep_only(&upper, &result);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = MANY_FILES, .rlim_max = MANY_FILES});
    if (!session)
        error = mount_share();
    if (!error)
        changes = session ? open_entry(session) : open(CHANGES, O_WRONLY | O_CLOEXEC);
    if (changes < 0)
        snprintf(written.problem, sizeof written.problem, "mounting the share " TAG ": %s", reason(error ? error : errno));
    else
        layer_write(upper, changes, &written);
    _exit(write(result, &written, sizeof written) != sizeof written);
}

/* Starts the child, and asks the host for the share. Returns false with the problem. */
static bool begin(struct write_back *w, unsigned session, struct written *written)
{
    int result[2] = {-1, -1};
    pid_t pid = pipe2(result, O_CLOEXEC) < 0 ? -1 : fork();
    if (pid == 0)
        be_writer(w->upper, result[1], session);
    if (pid < 0)
        snprintf(written->problem, sizeof written->problem, "a process for it: %s", reason(errno));
    if (result[1] >= 0)
        close(result[1]);
    if (pid < 0) {
        if (result[0] >= 0)
            close(result[0]);
        return false;
    }
    w->pid = pid;
    w->result = result[0];
    link_send(frame_of(session, FRAME_LAYER), NULL, 0);
    return true;
}

static void say_why(bool stopped, struct written *written)
{
    *written = (struct written){0};
    snprintf(written->problem, sizeof written->problem, stopped ? "SIGKILL came" : "the process that writes it has died");
}

/* Takes the child's result, if there is one. STOPPED: it was killed. */
static void take_result(const struct write_back *w, bool stopped, struct written *written)
{
    ssize_t count = read(w->result, written, sizeof *written);
    written->problem[sizeof written->problem - 1] = '\0';
    if (count != sizeof *written)
        say_why(stopped, written);
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

static void wait_for(struct write_back *w, struct written *written)
{
    w->has_ended = has_ended(w->pid);
    if (w->has_ended)
        take_result(w, stop, written);
    else
        say_why(stop, written);
}

void write_back(struct write_back *w, bool stuck)
{
    static struct written written;
    if (w->upper < 0)
        return;
    if (stuck)
        snprintf(written.problem, sizeof written.problem, "a process of the container does not end");
    else if (has_entries(w) && begin(w, 0, &written)) /* else nothing: the host needs no share for that */
        wait_for(w, &written);
    tell(0, &written);
    write_back_close(w);
}

static void begin_for_session(struct write_back *w, unsigned session)
{
    struct written written = {0};
    if (has_entries(w) && begin(w, session, &written)) {
        close(w->upper); /* the child's end unmounts the file system: that may take long, and PID 1 must not wait for it */
        w->upper = -1;
        return;
    }
    tell(session, &written);
    write_back_close(w);
}

bool write_back_is_pending(const struct write_back *w)
{
    return w->upper >= 0 || w->pid;
}

bool write_back_child_ended(struct write_back *w, pid_t pid)
{
    if (!w->pid || w->pid != pid)
        return false;
    w->has_ended = true;
    return true;
}

bool write_back_proceed(struct write_back *w, unsigned session)
{
    struct written written = {0};
    if (!write_back_is_pending(w))
        return true;
    if (!w->pid)
        begin_for_session(w, session);
    if (!w->has_ended)
        return !write_back_is_pending(w);
    take_result(w, w->stopped, &written);
    tell(session, &written);
    write_back_close(w);
    return true;
}

void write_back_stop(struct write_back *w)
{
    if (w->pid && !w->has_ended) {
        w->stopped = true;
        kill(w->pid, SIGKILL);
    }
}

void write_back_close(struct write_back *w)
{
    write_back_stop(w);
    if (w->upper >= 0)
        close(w->upper);
    if (w->result >= 0)
        close(w->result);
    write_back_open(w);
}
