/* The terminal of the process: a pseudoterminal in the container's devpts, whose master PID 1 holds. */
#ifndef RUNX_CHILD_TERMINAL_H
#define RUNX_CHILD_TERMINAL_H

#include <sys/ioctl.h>

#include "child/process.h"

/* Opens the other end of a pseudoterminal by its master (Linux 4.13), and not by a path that the image could replace. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* In the child, inside the root: makes the terminal the standard streams of a new session, and sends its master to SOCKET, for
 * descriptor_receive(). IS_CONSOLE: it is /dev/console, too. */
void terminal_open(const struct process *process, int socket, bool is_console, int report);
void terminal_resize(int master, unsigned short rows, unsigned short columns);

#endif
