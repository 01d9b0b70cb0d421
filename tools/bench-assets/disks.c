/* Prints four rates of a root filesystem by disk, on one line. For tools/bench.
 *
 * Bytes a second of reading /big, which is 64 MiB, and of writing as much; reads and writes of 4 KiB a second, at random places,
 * past the page cache. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64 << 20, PART = 128 * 1024, BLOCK = 4096, BLOCKS = 1500 };

static char *buffer;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int open_file(const char *path, int flags)
{
    int file = open(path, flags, 0600);
    if (file < 0) {
        perror(path);
        exit(1);
    }
    return file;
}

/* Moves SIZE bytes in parts of this length, one after another or at random places: parts a second. */
static double rate(int file, size_t length, int count, int writes, int at_random)
{
    double begin = now();
    for (long i = 0; i < count; i++) {
        off_t at = (at_random ? rand() % (SIZE / (long)length) : i) * (long)length;
        ssize_t done = writes ? pwrite(file, buffer, length, at) : pread(file, buffer, length, at);
        if (done != (ssize_t)length) {
            perror(writes ? "pwrite" : "pread");
            exit(1);
        }
    }
    if (writes && fsync(file) < 0)
        exit(1);
    close(file);
    return count / (now() - begin);
}

int main(void)
{
    if (posix_memalign((void **)&buffer, BLOCK, PART))
        return 1;
    double read_rate = PART * rate(open_file("/big", O_RDONLY), PART, SIZE / PART, 0, 0);
    double reads = rate(open_file("/big", O_RDONLY | O_DIRECT), BLOCK, BLOCKS, 0, 1);
    double write_rate = PART * rate(open_file("/new", O_WRONLY | O_CREAT), PART, SIZE / PART, 1, 0);
    double writes = rate(open_file("/new", O_WRONLY | O_DIRECT), BLOCK, BLOCKS, 1, 1);
    printf("%.0f %.0f %.1f %.1f\n", read_rate, write_rate, reads, writes);
    return 0;
}
