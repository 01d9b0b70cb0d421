/* PID 1 of a guest. */
#ifndef RUNX_PID1_MAIN_H
#define RUNX_PID1_MAIN_H

/* Runs the container with the console link at DEVICE, and powers off. Returns only when this is not PID 1. */
int pid1_main(const char *device);

#endif
