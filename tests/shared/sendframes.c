/*
 * Sends raw frames at an interface, one for each line of standard input: the frame in hexadecimal.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_ll there = { .sll_family = AF_PACKET, .sll_halen = ETH_ALEN };
	unsigned char frame[2048];
	char line[2 * sizeof frame + 2];
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	if (argc != 2 || fd < 0 || !(there.sll_ifindex = if_nametoindex(argv[1]))) {
		perror("sendframes INTERFACE");
		return 1;
	}
	while (fgets(line, sizeof line, stdin)) {
		size_t size = 0;
		while (size < sizeof frame && sscanf(line + 2 * size, "%2hhx", frame + size) == 1)
			size++;
		if (sendto(fd, frame, size, 0, (struct sockaddr *)&there, sizeof there) != (ssize_t)size) {
			perror(line);
			return 1;
		}
		usleep(2000);
	}
	return 0;
}
