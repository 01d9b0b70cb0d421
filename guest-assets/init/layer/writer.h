/* What a container has written, brought into its root filesystem on the host. */
#ifndef RUNX_LAYER_WRITER_H
#define RUNX_LAYER_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct written {
    uint64_t bytes;    /* of files */
    uint32_t entries;  /* names that were made, replaced or removed */
    char problem[512]; /* the first thing that went wrong; empty: nothing */
};

/* Brings the changes in UPPER, the upper directory of an overlay, into ROOT, a directory with the files below it: the file
 * system there is a share of the host, or any other one. Everything may be repeated: what an earlier, interrupted call has
 * brought is brought once more. Returns false with a problem if something could not be brought. */
bool layer_write(int upper, int root, struct written *written);
/* Whether the directory UPPER has entries. */
bool layer_has_entries(int upper);

#endif
