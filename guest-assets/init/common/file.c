#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Closes FD and keeps the errno of what was done with it. */
static void close_quietly(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
}

bool read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, size - 1);
    text[length > 0 ? length : 0] = '\0';
    close_quietly(fd);
    return length >= 0;
}

bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t length = strlen(text);
    bool written = write(fd, text, length) == (ssize_t)length;
    close_quietly(fd);
    return written;
}

char *read_whole(const char *path, size_t *size)
{
    struct stat status;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    *size = 0;
    if (fstat(fd, &status) == 0 && (text = malloc((size_t)status.st_size + 1))) {
        while (*size < (size_t)status.st_size) {
            ssize_t count = read(fd, text + *size, (size_t)status.st_size - *size);
            if (count <= 0)
                break;
            *size += (size_t)count;
        }
        text[*size] = '\0';
    }
    close_quietly(fd);
    return text;
}
