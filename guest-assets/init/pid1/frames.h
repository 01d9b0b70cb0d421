/* The numbers of the console link. A test compares them with docs/console-link.md and with the host's side. */
#ifndef RUNX_PID1_FRAMES_H
#define RUNX_PID1_FRAMES_H

enum { LINK_VERSION = 2, FRAME_HEADER = 4, FRAME_PAYLOAD_MAX = 4096 };

/* FRAME_HOST_*: from the host; all others are from the guest. */
enum frame_type {
    FRAME_HELLO = 0x01,
    FRAME_LOG = 0x02,
    FRAME_FATAL = 0x03,
    FRAME_STARTED = 0x04,
    FRAME_STDOUT = 0x05,
    FRAME_STDERR = 0x06,
    FRAME_EXIT = 0x07,
    FRAME_CREDIT = 0x08,
    FRAME_STDIN_CLOSED = 0x09,
    FRAME_QUESTION = 0x0a,
    FRAME_ENDING = 0x0b,
    FRAME_WRITTEN_BACK = 0x0c,
    FRAME_LAYER = 0x0d,
    FRAME_TIME = 0x0e,
    FRAME_HOST_STDIN = 0x41,
    FRAME_HOST_STDIN_EOF = 0x42,
    FRAME_HOST_SIGNAL = 0x43,
    FRAME_HOST_WINSIZE = 0x44,
    FRAME_HOST_CREDIT = 0x45,
    FRAME_HOST_CLOSED = 0x46,
    FRAME_HOST_NETWORK = 0x47,
    FRAME_HOST_NAMES = 0x48,
    FRAME_HOST_ANSWER = 0x49,
    FRAME_HOST_SPACE = 0x4a,
    FRAME_HOST_EXEC = 0x4b,
    FRAME_HOST_ASK_TIME = 0x4c,
    FRAME_HOST_ADJUST_TIME = 0x4d,
    FRAME_HOST_CONTAINER = 0x4e,
    FRAME_HOST_PLACE = 0x4f,
    FRAME_HOST_DIAL = 0x50,
};

/* A type and the session that it belongs to as one number: the first two bytes of a frame. */
static inline unsigned frame_of(unsigned session, unsigned type)
{
    return session << 8 | type;
}

/* The streams that CREDIT and CLOSED name. */
enum { STREAM_STDIN = 0, STREAM_STDOUT = 1, STREAM_STDERR = 2 };

enum {
    OUTPUT_WINDOW = 128 * 1024, /* bytes of one output stream that may be without credit */
    INPUT_WINDOW = 32 * 1024,   /* bytes of input that may be without credit */
    SESSIONS_MOST = 128,        /* sessions at once, beside session 0 */
    RECORD_LIMIT = 4 * 1024 * 1024, /* bytes of all EXEC or CONTAINER frames of a session */
    LOG_LIMIT = 64 * 1024,      /* bytes of all LOG frames together */
    DNS_HEADER = 12,            /* bytes of the smallest DNS message (RFC 1035) */
    WRITTEN_BACK_HEADER = 1,    /* bytes of WRITTEN_BACK before its text */
};

#endif
