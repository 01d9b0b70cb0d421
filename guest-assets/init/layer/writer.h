/* What a container has written, sent to the host for its root filesystem. */
#ifndef RUNX_LAYER_WRITER_H
#define RUNX_LAYER_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct written {
    char problem[512]; /* the first thing that went wrong here; empty: nothing */
};

/* Sends the changes in UPPER, the upper directory of an overlay, to CHANGES, a file of the host that takes records. Everything may
 * be repeated: what an earlier, interrupted call has brought is brought once more. Returns false with a problem if something
 * could not be sent. The host knows by itself whether all has come, and what became of it. */
bool layer_write(int upper, int changes, struct written *written);
/* Whether the directory UPPER has entries. */
bool layer_has_entries(int upper);

#endif
