/* Processes that the kernel ended because memory ran out. They explain an exit status of 137. */
#ifndef RUNX_PID1_KERNEL_LOG_H
#define RUNX_PID1_KERNEL_LOG_H

/* Remembers where the kernel's log ends now. */
void kernel_log_open(void);
/* Logs the processes that the kernel has ended since then. */
void kernel_log_tell(void);

#endif
