/* Makes each system call whose number is an argument, with arguments of 0, and prints its number and errno, 0 for success. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        errno = 0;
        syscall(strtol(argv[i], NULL, 10), 0L, 0L, 0L, 0L, 0L, 0L);
        printf("%s %d\n", argv[i], errno);
        fflush(stdout);
    }
    return 0;
}
