/* Works on files of a directory as programs do, for tools/bench: prints the milliseconds that each kind of work took, on one line.
 *
 *     files DIRECTORY
 *
 * The directory has the files 0 to 119 in `list`, the same in `read`, an empty directory `create`, and a file `large`. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CREATED 60
#define FILES 120
#define BLOCK (1L << 20)
#define BLOCKS 16

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void require(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static void create(void)
{
    char name[32], data[1024] = "created";
    for (int number = 0; number < CREATED; number++) {
        snprintf(name, sizeof name, "create/%d", number);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
        require(fd >= 0 && write(fd, data, sizeof data) == sizeof data && !close(fd), name);
    }
}

static void list(void)
{
    int count = 0;
    struct stat status;
    DIR *directory = opendir("list");
    require(directory != NULL, "list");
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.')
            continue;
        require(!fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW), entry->d_name);
        count++;
    }
    require(count == FILES, "list: number of files");
    closedir(directory);
}

static void read_small(void)
{
    char name[32], data[4096];
    for (int number = 0; number < FILES; number++) {
        snprintf(name, sizeof name, "read/%d", number);
        int fd = open(name, O_RDONLY);
        require(fd >= 0 && read(fd, data, sizeof data) > 0 && read(fd, data, sizeof data) == 0 && !close(fd), name);
    }
}

static void write_large(void)
{
    char *data = malloc(BLOCK);
    int fd = open("written", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (long at = 0; at < BLOCK; at++)
        data[at] = at;
    for (int number = 0; number < BLOCKS; number++)
        require(write(fd, data, BLOCK) == BLOCK, "written");
    require(!close(fd), "written");
    free(data);
}

static void read_large(void)
{
    char *data = malloc(BLOCK);
    int fd = open("large", O_RDONLY);
    for (long left = BLOCK * BLOCKS; left > 0;) {
        ssize_t count = read(fd, data, BLOCK);
        require(count > 0, "large");
        left -= count;
    }
    close(fd);
    free(data);
}

int main(int count, char **words)
{
    void (*const works[])(void) = {create, list, read_small, write_large, read_large};
    require(count == 2 && !chdir(words[1]), "the directory");
    for (size_t number = 0; number < sizeof works / sizeof *works; number++) {
        double begin = now_ms();
        works[number]();
        printf("%s%.3f", number ? " " : "", now_ms() - begin);
    }
    printf("\n");
    return 0;
}
