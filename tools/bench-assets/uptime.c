/* Prints how long the kernel has been running, in milliseconds, on one line. For tools/bench.
 *
 * As the process of a container it ends then. As the init of a bare kernel, which is started under the name /bench, it powers
 * off. */
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    (void)argc;
    if (strcmp(argv[0], "/bench")) {
        printf("%.3f\n", up.tv_sec * 1e3 + up.tv_nsec / 1e6);
        return 0;
    }
    printf("\nuptime %.3f\n", up.tv_sec * 1e3 + up.tv_nsec / 1e6);
    fflush(stdout);
    tcdrain(1);
    reboot(RB_POWER_OFF);
    return 1;
}
