#include "inroot/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error_text.h"
#include "inroot/fail.h"

enum { DEPTH_MAX = 256 };

static void copy_bytes(int from, int to, const char *name)
{
    static char buffer[64 * 1024];
    ssize_t count;
    while ((count = read(from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < count;) {
            ssize_t written = write(to, buffer + done, (size_t)(count - done));
            if (written < 0)
                fail("copying %s: %s", name, reason(errno));
            done += written;
        }
    if (count < 0)
        fail("copying %s: %s", name, reason(errno));
}

static void copy_directory(int from, int to, int depth);

static void copy_entry(int from, int to, const char *name, int depth)
{
    struct stat status;
    char target[PATH_MAX];
    int in, out, made = 0;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        fail("copying %s: %s", name, reason(errno));
    if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlinkat(from, name, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        made = length < 0 ? -1 : symlinkat(target, to, name);
    } else if (S_ISDIR(status.st_mode)) {
        made = mkdirat(to, name, 0700);
        in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (made < 0 || in < 0 || out < 0)
            fail("copying %s: %s", name, reason(errno));
        copy_directory(in, out, depth + 1);
        close(out);
    } else if (S_ISREG(status.st_mode)) {
        in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (in < 0 || out < 0)
            fail("copying %s: %s", name, reason(errno));
        copy_bytes(in, out, name);
        close(in);
        close(out);
    } else {
        made = mknodat(to, name, status.st_mode, status.st_rdev);
    }
    struct timespec times[] = {status.st_atim, status.st_mtim};
    if (made < 0 || fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISLNK(status.st_mode) && fchmodat(to, name, status.st_mode & 07777, 0) < 0) ||
        utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        fail("copying %s: %s", name, reason(errno));
}

/* Closes FROM. */
static void copy_directory(int from, int to, int depth)
{
    DIR *directory = fdopendir(from);
    struct dirent *entry;
    if (!directory)
        fail("copying: %s", reason(errno));
    if (depth > DEPTH_MAX)
        fail("copying: more than %d levels of directories", DEPTH_MAX);
    while ((entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            copy_entry(dirfd(directory), to, entry->d_name, depth);
    closedir(directory);
}

void copy_up(int below, int above)
{
    int from = openat(below, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int to = openat(above, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0 || to < 0)
        fail("copying: %s", reason(errno));
    copy_directory(from, to, 0);
    close(to);
}
