/* The script runs in the namespaces of PID 1. So the container's process cannot see or reach a DHCP client that the script
 * leaves in the background. */
#include "pid1/network_script.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/spawn.h"
#include "pid1/end.h"

#define SCRIPT "/runx/network"

static int line = -1;   /* gives a line when the network is up */
static int told = -1;   /* the other end of LINE */
static int output = -1; /* for the script */
static int script = -1; /* the file into which the host's script is written */
static size_t script_size;

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Starts the shell, which writes the line. */
static void run(void)
{
    /* Only the outer shell has the pipe. If a client in the background had it, the child would not see it end when the
     * script fails. */
    static char *const ARGUMENTS[] = {"sh", "-c", "sh " SCRIPT " 3>&- && echo up >&3", NULL};
    pid_t shell = fork();
    if (shell < 0)
        fatal(STATUS_SETUP_FAILED, "starting the network script: %s", reason(errno));
    if (!shell) {
        int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        restore_signals();
        if (in >= 0 && dup2(in, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2 &&
            pass_descriptor(told, NETWORK_DESCRIPTOR))
            execve("/bin/sh", ARGUMENTS, SCRIPT_ENVIRONMENT);
        _exit(STATUS_SETUP_FAILED); /* the child sees that it gets no line */
    }
    network_script_close();
}

void network_script_start(int log, bool follows)
{
    int ends[2];
    if (!follows && access(SCRIPT, F_OK) < 0)
        return;
    if (pipe2(ends, O_CLOEXEC) < 0)
        fatal(STATUS_SETUP_FAILED, "pipe: %s", reason(errno));
    line = ends[0];
    told = ends[1];
    output = fcntl(log, F_DUPFD_CLOEXEC, 0);
    if (!follows) {
        run();
        return;
    }
    script = open(SCRIPT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (script < 0)
        fatal(STATUS_SETUP_FAILED, "%s: %s", SCRIPT, reason(errno));
}

void network_script_receive(const unsigned char *part, size_t length)
{
    if (script < 0)
        return;
    for (size_t done = 0; done < length;) {
        ssize_t count = write(script, part + done, length - done);
        if (count < 0)
            fatal(STATUS_SETUP_FAILED, "%s: %s", SCRIPT, reason(errno));
        done += (size_t)count;
    }
    script_size += length;
    if (length)
        return;
    close_one(&script);
    if (script_size) {
        run();
        return;
    }
    /* Nothing to do, and so no shell. */
    if (write(told, "up\n", 3) < 0)
        fatal(STATUS_SETUP_FAILED, "network: %s", reason(errno));
    network_script_close();
}

int network_script_line(void)
{
    return line;
}

void network_script_close(void)
{
    close_one(&told);
    close_one(&output);
    close_one(&script);
}
