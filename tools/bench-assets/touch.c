/* Prints how much memory can be used, and MemTotal, both in KiB, on one line. For tools/bench.
 *
 * A child touches one page after another until the kernel ends it. The pages that it counts are shared with this process. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L
#define SIZE (1L << 30) /* more than the machine has */

int main(void)
{
    volatile long *count = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        int score = open("/proc/self/oom_score_adj", O_WRONLY);
        if (write(score, "1000", 4) != 4)
            return 1;
        char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return 1;
        for (long at = 0; at < SIZE; at += PAGE) {
            memory[at] = 1;
            ++*count;
        }
        return 1;
    }
    int status;
    long total;
    FILE *meminfo = fopen("/proc/meminfo", "r");
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || !meminfo ||
        fscanf(meminfo, "MemTotal: %ld", &total) != 1)
        return 1;
    printf("%ld %ld\n", *count * (PAGE / 1024), total);
    return 0;
}
