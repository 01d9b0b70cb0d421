/*
 * Locks a file as flock(1) does, which the test image does not have.
 *
 * lockfile try FILE: status 1 if another process has the lock. lockfile hold FILE END: waits for the lock, says so, and keeps it
 * until there is a file END.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int hold = argc == 4 && !strcmp(argv[1], "hold");
	if (!hold && !(argc == 3 && !strcmp(argv[1], "try")))
		return 2;
	int fd = open(argv[2], O_RDWR);
	if (fd < 0 || flock(fd, hold ? LOCK_EX : LOCK_EX | LOCK_NB)) {
		if (fd >= 0 && errno == EWOULDBLOCK)
			return 1;
		perror(argv[2]);
		return 3;
	}
	if (hold) {
		puts("locked");
		fflush(stdout);
		while (access(argv[3], F_OK))
			sleep(1);
	}
	return 0;
}
