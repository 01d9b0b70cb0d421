/* One program with three names: /init is PID 1, inroot and add-neighbour are commands for the scripts (docs/guest.md). */
#include <string.h>

#include "applets/add_neighbour.h"
#include "inroot/main.h"
#include "pid1/main.h"

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (!strcmp(name, "inroot"))
        return inroot_main(argc, argv);
    if (!strcmp(name, "add-neighbour"))
        return add_neighbour_main(argc, argv);
    return pid1_main(argc > 1 && argv[1][0] == '/' ? argv[1] : "/dev/hvc1");
}
