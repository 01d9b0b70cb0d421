/* Helps a guest whose memory has run out, and whose kernel does not notice. */
#ifndef RUNX_PID1_MEMORY_PRESSURE_H
#define RUNX_PID1_MEMORY_PRESSURE_H

/* Starts to watch how long processes wait for memory. */
void memory_pressure_watch(void);
/* The descriptor for poll(2) with POLLPRI; -1 when the kernel does not tell. */
int memory_pressure_fd(void);
/* Makes the kernel find memory, or end a process. */
void memory_pressure_relieve(void);

#endif
