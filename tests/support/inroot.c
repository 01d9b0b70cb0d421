/* inroot COMMAND ARGUMENTS...: one command of the room inroot/, for the shell scripts of tests. */
#include <stdio.h>
#include <sys/stat.h>

#include "inroot/commands.h"
#include "inroot/fail.h"

static void print(const char *text)
{
    fprintf(stderr, "inroot: %s\n", text);
}

int main(int argc, char **argv)
{
    const struct command *command = argc > 1 ? inroot_command(argv[1]) : NULL;
    if (!command || (size_t)argc - 2 != command->count)
        return 2;
    umask(0);
    fail_by(print);
    fail_in(command->name, argv[2 + command->subject]);
    command->run(argv + 2);
    return 0;
}
