/* The standard streams of a process, within the windows of the link (docs/console-link.md, "Flow control"). */
#ifndef RUNX_PID1_STREAMS_H
#define RUNX_PID1_STREAMS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pid1/frames.h"

struct output {
    int fd; /* -1: closed */
    enum frame_type type;
    size_t window; /* bytes that may be sent before the host gives credit */
    bool is_counted;
    size_t left; /* is_counted: bytes that are sent before it is closed, at the end of its process */
};

struct streams {
    unsigned session; /* whose they are; 0: the container's process */
    bool started;     /* the process runs, or has run */
    bool ended;       /* it has ended */
    struct output out, err;
    int in; /* -1: closed */
    bool input_ended;
    bool is_terminal;
    bool are_shared;  /* other processes may use them when the process has ended */
    bool is_connection; /* `in` and `out` are one socket, which has a half that can be closed */
    bool was_cut_off;   /* the server has not ended the connection in order */
    int terminal_end; /* the process's end: while it is open, reads of the master do not fail */
    unsigned short rows, columns; /* of the terminal, as the host said before there was one */
    unsigned char input[INPUT_WINDOW]; /* a ring */
    size_t input_start, input_length;
    uint32_t credit;  /* bytes that the process took and the host was not told of */
    bool tell_closed; /* STDIN_CLOSED is to be sent */
    bool errors_first;
};

extern struct streams container_streams; /* of session 0 */

/* Sets PID 1's ends of the pipes for standard input, output and error. */
void streams_open(struct streams *streams, unsigned session, int in, int out, int err);
/* Makes a terminal of them, by its master. Returns false with errno. */
bool streams_open_terminal(struct streams *streams, int master);
/* Makes the streams of a connection, whose socket is theirs then. Returns false with errno, and the socket is closed. */
bool streams_of_connection(struct streams *streams, int socket);
/* Whether the server has gone, by events of poll(2) of the input. */
bool streams_lost_connection(const struct streams *streams, short events);
/* Closes everything. */
void streams_close(struct streams *streams);
/* No process is left that uses the terminal: reads of the master now give the rest of the output, and then fail. */
void streams_close_terminal_end(struct streams *streams);

/* Moves data as far as pipes and link have room. AT_END: what is in an output the first time is its last, and then it is closed,
 * or kept if ARE_SHARED. */
void streams_relay(struct streams *streams, bool at_end);
/* At the end: whether all is sent that was in the outputs the first time. */
bool streams_rest_is_sent(const struct streams *streams);
/* Whether both outputs have ended. */
bool streams_drained(const struct streams *streams);
/* Whether an output can be moved or closed, as far as the host's credit goes. */
bool streams_are_due(const struct streams *streams);
/* Acts on a frame from the host. Returns false when the frame is not for the streams. */
bool streams_take_frame(struct streams *streams, unsigned type, const unsigned char *payload, size_t length);
/* Fills in what to poll for; standard input comes first. */
void streams_poll(const struct streams *streams, struct pollfd fds[3]);
/* The process has closed its standard input, or has ended. */
void streams_lose_input(struct streams *streams);

#endif
