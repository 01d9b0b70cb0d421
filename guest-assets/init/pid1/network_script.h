/* The network script, /runx/network. It runs beside the set-up of the root. */
#ifndef RUNX_PID1_NETWORK_SCRIPT_H
#define RUNX_PID1_NETWORK_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

/* Starts the script, if there is one, with LOG as its output. FOLLOWS: the host sends it first. */
void network_script_start(int log, bool follows);
/* Takes a part of the script from the host. A LENGTH of 0 ends the script, and it is started unless it is empty. */
void network_script_receive(const unsigned char *part, size_t length);
/* The descriptor that gives a line when the network is up; -1 without a network. */
int network_script_line(void);
/* Closes what the script gets. While any process has the other end of the line open, the line does not end. */
void network_script_close(void);

#endif
