/* The end of a container whose layer the host is to have: what it wrote goes into its root filesystem on the host. */
#ifndef RUNX_PID1_WRITE_BACK_H
#define RUNX_PID1_WRITE_BACK_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct write_back {
    int upper; /* the directory with the container's changes; -1: the host is to have none */
    struct timespec changed_at;
    pid_t pid;  /* of the child that writes; 0: none */
    int result; /* the pipe that brings its result */
    bool has_ended;
    bool stopped; /* it was killed, as the host wished */
};

/* Nothing to write yet. */
void write_back_open(struct write_back *);
/* Takes the directory with the container's changes from SOCKET, if the child has sent one. Closes the socket. */
void write_back_take(struct write_back *, int socket);
/* Writes the changes back, if there are any, and tells the host. STUCK: a process of the container is still there. Returns when all
 * is done. */
void write_back(struct write_back *, bool stuck);

/* The same for the container of a SESSION in the machine of a pod, which goes on meanwhile: begins, and goes on. Returns whether
 * all is done, and the host has been told. The link has to have room. */
bool write_back_proceed(struct write_back *, unsigned session);
/* Whether there is something left to do. */
bool write_back_is_pending(const struct write_back *);
/* Whether PID, which has ended, was the child that writes. */
bool write_back_child_ended(struct write_back *, pid_t pid);
/* The host wants the end of it. */
void write_back_stop(struct write_back *);
/* Lets go of the layer's file system, which is unmounted then. */
void write_back_close(struct write_back *);

#endif
