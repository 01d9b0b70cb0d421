#include "pid1/start.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child/main.h"
#include "common/common.h"
#include "common/error_text.h"
#include "pid1/birth.h"
#include "pid1/end.h"
#include "pid1/link.h"
#include "pid1/log.h"
#include "pid1/memory_pressure.h"
#include "pid1/namespace.h"
#include "pid1/network_script.h"
#include "pid1/signals.h"
#include "pid1/streams.h"
#include "pid1/write_back.h"

static struct birth birth = {.reports = -1};
static int layer_socket = -1; /* brings the directory of the container's changes */

void start_child(struct process *process)
{
    int log[2], layer[2];
    struct child_pipes pipes;
    if (pipe2(log, O_CLOEXEC) < 0 || !birth_prepare(&birth, 0, &container_streams, &pipes))
        fatal(STATUS_SETUP_FAILED, "pipe: %s", reason(errno));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, layer) < 0)
        fatal(STATUS_SETUP_FAILED, "socketpair: %s", reason(errno));
    network_script_start(log[1], process->network_follows);
    child.pid = process->pid_namespace ? namespace_fork_into_new() : fork();
    if (child.pid < 0)
        fatal(STATUS_SETUP_FAILED, "forking the process: %s", reason(errno));
    if (!child.pid) {
        network_script_close();
        pipes.log = log[1];
        pipes.layer = layer[1];
        pipes.network = network_script_line();
        child_main(process, &pipes);
    }
    birth_close_ends(&pipes);
    close(log[1]);
    close(layer[1]);
    fcntl(log[0], F_SETFL, fcntl(log[0], F_GETFL) | O_NONBLOCK);
    log_open(log[0]);
    layer_socket = layer[0];
}

int start_fd(void)
{
    return birth.reports;
}

/* Ends the guest with the end of the log as the reason. */
static _Noreturn void fail_as_the_log_says(void)
{
    size_t length;
    const char *text = log_tail(&length);
    if (!length)
        fatal(STATUS_SETUP_FAILED, "the set-up failed and said nothing");
    fatal(STATUS_SETUP_FAILED, "%.*s", (int)length, text);
}

void start_take_report(void)
{
    int status;
    const char *text;
    size_t length;
    switch (birth_take_report(&birth, &container_streams, &status, &text, &length)) {
    case BIRTH_GOES_ON:
        return;
    case BIRTH_FAILED:
        log_relay();
        if (!length)
            fail_as_the_log_says();
        fatal(status, "%.*s", (int)length, text);
    case BIRTH_DONE:
        log_relay();
        write_back_take(layer_socket);
        link_send(FRAME_STARTED, NULL, 0);
        child_started();
        memory_pressure_watch(); /* now, as it takes time: nothing that is set up fills the memory */
        container_streams.started = true;
    }
}
