/* layer UPPER: the room layer/ on a directory of this machine, for tests. The records go to standard output; a problem goes to
 * standard error, and the status is 1 then. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "layer/writer.h"

int main(int argc, char **argv)
{
    static struct written written;
    int upper = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (upper < 0)
        return 2;
    bool done = layer_write(upper, STDOUT_FILENO, &written);
    fprintf(stderr, "%s", written.problem);
    return done ? 0 : 1;
}
