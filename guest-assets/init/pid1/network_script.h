/* The network script, /runx/network. It runs beside the setup script. */
#ifndef RUNX_PID1_NETWORK_SCRIPT_H
#define RUNX_PID1_NETWORK_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

/* Starts the script, if there is one, with LOG as its output. FOLLOWS: waits until the host has sent the script. */
void network_script_start(int log, bool follows);
/* Takes a part of the script from the host; a LENGTH of 0 ends the script. */
void network_script_receive(const unsigned char *part, size_t length);
/* The descriptor that gives a line when the network is up; -1 without a network. */
int network_script_line(void);
/* Closes this process's end of the pipe to the script. While any process has it open, the script does not end. */
void network_script_close(void);

#endif
