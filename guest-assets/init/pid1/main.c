/* PID 1 starts the container's process and carries its streams, signals and exit status over a console of the domain. It is
 * one poll loop. Steps that may block, such as the set-up, are done in the child.
 */
#include "pid1/main.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/process_file.h"
#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "pid1/clock.h"
#include "pid1/dns_relay.h"
#include "pid1/end.h"
#include "pid1/ending.h"
#include "pid1/groups.h"
#include "pid1/kernel_log.h"
#include "pid1/link.h"
#include "pid1/log.h"
#include "pid1/memory_pressure.h"
#include "pid1/network_script.h"
#include "pid1/sessions.h"
#include "pid1/signals.h"
#include "pid1/space.h"
#include "pid1/start.h"
#include "pid1/streams.h"
#include "pid1/write_back.h"

static void mount_or_warn(const char *type, const char *target, unsigned long flags, const char *data)
{
    mkdir(target, 0755);
    /* EBUSY: it is mounted already, by the kernel or by a test. */
    if (mount(type, target, type, flags, data) < 0 && errno != EBUSY)
        fprintf(stderr, "init: mounting %s: %s\n", target, reason(errno));
}

static void mount_own(void)
{
    umask(0);
    mount_or_warn("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_warn("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_warn("devtmpfs", "/dev", MS_NOSUID, "mode=755");
    mount_or_warn("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755");
    mkdir(NEWROOT, 0755);
    umask(022);
}

/* Raises the limit of processes of a user to the number that there can be (kernel.pid_max of a small machine). Linux derives it,
 * and the number of all threads, from the machine's memory: some hundreds for 64 MiB, where under runc it is the host's. */
static void allow_processes(void)
{
    enum { PROCESSES = 32768 };
    char threads[32];
    struct rlimit limit;
    if (read_file("/proc/sys/kernel/threads-max", threads, sizeof threads) && strtoul(threads, NULL, 10) < PROCESSES)
        write_file("/proc/sys/kernel/threads-max", "32768");
    if (getrlimit(RLIMIT_NPROC, &limit) < 0 || limit.rlim_max >= PROCESSES)
        return;
    limit.rlim_cur = limit.rlim_max = PROCESSES;
    setrlimit(RLIMIT_NPROC, &limit);
}

static void handle_frame(unsigned kind, unsigned char *payload, size_t length)
{
    unsigned session = kind >> 8, type = kind & 0xff;
    if (session) {
        sessions_take_frame(session, type, payload, length);
        return;
    }
    if (streams_take_frame(&container_streams, type, payload, length))
        return;
    switch (type) {
    case FRAME_HOST_SIGNAL:
        if (length == 1)
            deliver(payload[0]);
        return;
    case FRAME_HOST_NETWORK:
        network_script_receive(payload, length);
        return;
    case FRAME_HOST_NAMES:
        dns_serve(payload, length);
        return;
    case FRAME_HOST_ANSWER:
        dns_answer(payload, length);
        return;
    case FRAME_HOST_SPACE:
        space_receive(payload, length);
        return;
    case FRAME_HOST_ASK_TIME:
        clock_tell();
        return;
    case FRAME_HOST_ADJUST_TIME:
        clock_adjust(payload, length);
        return;
    default:
        log_warn("init: unknown frame 0x%02x from the host\n", type);
    }
}

static void wait_for_events(void)
{
    enum { LINK, SIGNALS, REPORT, LOG, DNS, MEMORY, STREAMS, SESSIONS = STREAMS + 3 };
    struct pollfd fds[SESSIONS + SESSIONS_POLLS] = {
        [LINK] = {.fd = link_fd(), .events = link_events()},
        [SIGNALS] = {.fd = signals_fd(), .events = POLLIN},
        [REPORT] = {.fd = start_fd(), .events = POLLIN},
        [LOG] = {.fd = link_has_room() ? log_fd() : -1, .events = POLLIN},
        [DNS] = {.fd = link_has_room() ? dns_fd() : -1, .events = POLLIN},
        [MEMORY] = {.fd = memory_pressure_fd(), .events = POLLPRI},
    };
    streams_poll(&container_streams, fds + STREAMS);
    size_t of_sessions = sessions_poll(fds + SESSIONS);
    /* poll(2) may miss that there is room in the console. */
    if (poll(fds, SESSIONS + of_sessions, link_is_empty() && !sessions_are_due() ? ending_timeout() : RETRY_MS) < 0)
        return;
    if ((fds[LINK].revents & ~POLLOUT) && !link_receive(handle_frame))
        hang_up();
    if (fds[SIGNALS].revents)
        signals_take();
    if (fds[MEMORY].revents)
        memory_pressure_relieve();
    if (fds[REPORT].revents)
        start_take_report();
    if (fds[STREAMS].revents & POLLERR)
        streams_lose_input(&container_streams);
    sessions_handle(fds + SESSIONS, of_sessions);
}

/* Moves the streams of the container's process and of all sessions. None of them is always in front. */
static void relay(void)
{
    static bool sessions_first;
    container_streams.ended = child.ended;
    if (child.ended && !child.any_left)
        streams_close_terminal_end(&container_streams);
    sessions_first = !sessions_first;
    if (sessions_first)
        sessions_relay();
    streams_relay(&container_streams, ending_is_stuck());
    if (!sessions_first)
        sessions_relay();
}

int pid1_main(const char *device)
{
    static struct process process;
    if (getpid() != 1) {
        fprintf(stderr, "init: this program runs as PID 1 of a guest, see docs/guest.md\n");
        return 1;
    }
    mount_own();
    if (link_open(device) < 0) {
        fprintf(stderr, "init: %s: %s\n", device, reason(errno));
        power_off();
    }
    link_send(FRAME_HELLO, (unsigned char[]){LINK_VERSION}, 1);
    link_flush(); /* at once: the set-up will wait for what the host answers */
    kernel_log_open();
    signals_watch();
    allow_processes();
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del becomes SIGINT; fails in a PID namespace, which has none */
    const char *wrong = process_file_read("/runx/process", &process);
    if (wrong)
        fatal(STATUS_SETUP_FAILED, "/runx/process: %s", wrong);
    space_of(process.layer);
    if (process.pod && !groups_open())
        fatal(STATUS_SETUP_FAILED, "control groups: %s", reason(errno));
    if (process.sessions || process.pod)
        sessions_allow(&process);
    if (process.sync_clock)
        clock_allow();
    start_child(&process);

    for (;;) {
        log_relay();
        dns_relay();
        relay();
        if (!link_flush())
            hang_up();
        if (child.started && !child.ended && !child.killed) /* the layer is mounted */
            space_follow();
        if (ending_proceed())
            break;
        wait_for_events();
    }
    write_back(ending_is_stuck());
    finish(FRAME_EXIT, (uint8_t[]){ending_status()}, 1);
}
