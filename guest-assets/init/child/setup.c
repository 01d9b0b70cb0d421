#include "child/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/ramdisk.h"
#include "common/common.h"
#include "common/descriptor.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/records.h"
#include "common/report.h"
#include "inroot/commands.h"
#include "inroot/fail.h"

#define FILE_NAME "/runx/setup"

static const struct child_pipes *pipes;
static const char *step = "start"; /* for messages */
static const char *hint;           /* NULL: none */
static const struct command *running;

static bool is_about_files(const char *line)
{
    static const char *const ABOUT[] = {"EXT4-fs", "erofs", "xvd", "9p"};
    for (size_t i = 0; i < ARRAY_SIZE(ABOUT); i++)
        if (strstr(line, ABOUT[i]))
            return true;
    return false;
}

/* Tells what the kernel has said last about file systems and their devices: mount(2) only says "invalid argument" for nearly
 * every error. It is so little that what stands before it is in the end of the log, too (pid1/log.c). */
static void tell_kernel_messages(void)
{
    enum { READ_ALL = 3, MOST_LINES = 6, MOST_BYTES = 600 }; /* the first: syslog(2) */
    static char text[128 * 1024];
    const char *last[MOST_LINES];
    size_t count = 0, bytes = 0, first;
    int length = klogctl(READ_ALL, text, sizeof text - 1);
    if (length <= 0)
        return;
    text[length] = '\0';
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        if (is_about_files(line)) {
            const char *level = line[0] == '<' ? strchr(line, '>') : NULL;
            last[count++ % MOST_LINES] = level ? level + 1 : line;
        }
    for (first = count; first > 0 && count - first < MOST_LINES; first--) {
        bytes += strlen(last[(first - 1) % MOST_LINES]) + 1;
        if (bytes > MOST_BYTES)
            break;
    }
    if (first < count)
        dprintf(pipes->log, "the kernel said last:\n");
    for (; first < count; first++)
        dprintf(pipes->log, "%s\n", last[first % MOST_LINES]);
}

/* Ends the child. TEXT: what failed; empty if the log has it already. */
static void end(const char *text)
{
    if (*text)
        dprintf(pipes->log, "%s\n", text);
    dprintf(pipes->log, "runx: %s failed\n", step);
    if (hint && running && !strcmp(running->name, "attach")) {
        dprintf(pipes->log, "%s\n", hint);
        tell_kernel_messages();
    }
    report_failure(pipes->report, STATUS_SETUP_FAILED, "%s", "");
}

static void do_step(char **a)
{
    step = a[0];
    hint = NULL;
}

static void do_hint(char **a)
{
    hint = a[0];
}

/* Waits for the line that says that the network is up. */
static void do_await_network(char **a)
{
    char byte = 0;
    ssize_t count = 0;
    (void)a;
    while (pipes->network >= 0 && byte != '\n' && ((count = read(pipes->network, &byte, 1)) > 0 || (count < 0 && errno == EINTR)))
        ;
    if (byte != '\n')
        end(pipes->network < 0 ? "there is no network script" : ""); /* the script has said why it failed */
}

/* Gives PID 1 the directory with the container's changes. */
static void do_keep(char **a)
{
    int fd = open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !descriptor_send(pipes->layer, fd))
        fail("%s", reason(errno));
    close(fd);
}

/* In the order of docs/guest.md. */
static const struct command COMMANDS[] = {
    {"step", 1, 0, do_step},
    {"hint", 1, 0, do_hint},
    {"await_network", 0, 0, do_await_network},
    {"keep", 1, 0, do_keep},
};

static const struct command *find(const char *name)
{
    const struct command *found = command_of(COMMANDS, ARRAY_SIZE(COMMANDS), name);
    if (!found)
        found = ramdisk_command(name);
    return found ? found : inroot_command(name);
}

static const char *check(const struct record *record, void *context)
{
    (void)context;
    const struct command *command = find(record->name);
    if (!command)
        return fault("unknown record \"%s\"", record->name);
    if (record->count != command->count)
        return fault("%s: %zu values instead of %zu", record->name, record->count, command->count);
    return NULL;
}

static const char *carry_out(const struct record *record, void *context)
{
    (void)context;
    running = find(record->name);
    fail_in(running->name, running->count ? record->values[running->subject] : "");
    running->run(record->values);
    return NULL;
}

void setup_run(const struct child_pipes *the_pipes)
{
    size_t size;
    pipes = the_pipes;
    char *text = read_whole(FILE_NAME, &size);
    if (!text)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "%s: %s", FILE_NAME, reason(errno));
    /* Nothing is done if a record is wrong. */
    const char *wrong = records_read(text, size, check, NULL);
    if (wrong)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "%s: %s", FILE_NAME, wrong);
    fail_by(end);
    mode_t before = umask(0);
    records_read(text, size, carry_out, NULL);
    umask(before);
}
