/* One program with two names: /init is PID 1, add-neighbour is a command for the network script (docs/guest.md). */
#include <string.h>

#include "applets/add_neighbour.h"
#include "pid1/main.h"

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (!strcmp(name, "add-neighbour"))
        return add_neighbour_main(argc, argv);
    return pid1_main(argc > 1 && argv[1][0] == '/' ? argv[1] : "/dev/hvc1");
}
