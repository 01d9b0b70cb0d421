/* A child of PID 1 on its way to become a process of the container: its pipes, and what it reports until then. */
#ifndef RUNX_PID1_BIRTH_H
#define RUNX_PID1_BIRTH_H

#include <stdbool.h>
#include <stddef.h>

#include "child/pipes.h"
#include "common/report.h"
#include "pid1/streams.h"

struct birth {
    int reports;  /* the pipe of common/report.h; -1: it has ended */
    int terminal; /* a socket that brings the master of the terminal, if the process has one */
    size_t length;
    unsigned char text[REPORT_MAX];
};

enum birth_outcome { BIRTH_GOES_ON, BIRTH_DONE, BIRTH_FAILED };

/* Makes what connects PID 1 to a child: the streams, and the child's ends in PIPES. Returns false with errno. */
bool birth_prepare(struct birth *birth, unsigned session, struct streams *streams, struct child_pipes *pipes);
/* Closes the child's ends, which the child has now. */
void birth_close_ends(const struct child_pipes *pipes);
/* Reads a report. The outcome is said once: the process runs with its streams, or failed with a STATUS and a text. */
enum birth_outcome birth_take_report(struct birth *birth, struct streams *streams, int *status, const char **text, size_t *length);
/* Closes what is left of it. */
void birth_close(struct birth *birth);

#endif
