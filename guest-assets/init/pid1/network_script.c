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

static int line = -1;
static int script = -1; /* takes the script that the host sends */

void network_script_start(int log, bool follows)
{
    /* Only the outer shell has the pipe. If a client in the background had it, the setup script would not see it end when
     * the network script fails. */
    static char *const THERE[] = {"sh", "-c", "sh " SCRIPT " 3>&- && echo up >&3", NULL};
    static char *const FOLLOWS[] = {
        "sh", "-c",
        "cat > " SCRIPT " && { [ ! -s " SCRIPT " ] || sh " SCRIPT " < /dev/null 3>&-; } && echo up >&3", NULL};
    int ends[2], input[2] = {-1, -1};
    if (!follows && access(SCRIPT, F_OK) < 0)
        return;
    if (pipe2(ends, O_CLOEXEC) < 0 || (follows && pipe2(input, O_CLOEXEC) < 0))
        fatal(STATUS_SETUP_FAILED, "pipe: %s", reason(errno));
    pid_t shell = fork();
    if (shell < 0)
        fatal(STATUS_SETUP_FAILED, "starting the network script: %s", reason(errno));
    if (!shell) {
        int in = follows ? input[0] : open("/dev/null", O_RDONLY | O_CLOEXEC);
        restore_signals();
        if (in >= 0 && dup2(in, 0) == 0 && dup2(log, 1) == 1 && dup2(log, 2) == 2 && pass_descriptor(ends[1], NETWORK_DESCRIPTOR))
            execve("/bin/sh", follows ? FOLLOWS : THERE, SCRIPT_ENVIRONMENT);
        _exit(STATUS_SETUP_FAILED); /* the setup script sees that it gets no line */
    }
    close(ends[1]);
    line = ends[0];
    if (follows)
        close(input[0]);
    script = input[1];
}

void network_script_close(void)
{
    if (script >= 0)
        close(script);
    script = -1;
}

void network_script_receive(const unsigned char *part, size_t length)
{
    size_t done = 0;
    while (script >= 0 && done < length) { /* cat reads at once; if the shell has died, the setup script gets no line */
        ssize_t count = write(script, part + done, length - done);
        if (count < 0 && errno != EINTR)
            break;
        done += count > 0 ? (size_t)count : 0;
    }
    if (!length || done < length)
        network_script_close();
}

int network_script_line(void)
{
    return line;
}
