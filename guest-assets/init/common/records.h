/* Files of records, such as /runx/process (docs/guest.md, "Records"). */
#ifndef RUNX_COMMON_RECORDS_H
#define RUNX_COMMON_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record {
    const char *name;
    char **values; /* NULL terminated, with room for one more */
    size_t count;
};

/* Parses the SIZE bytes of TEXT, which has a NUL after them, and has TAKE handle each record in turn, with CONTEXT. Values
 * point into TEXT, and nobody frees them. Returns NULL, or what is wrong: the first fault that TAKE returns, or its own. */
const char *records_read(char *text, size_t size, const char *(*take)(const struct record *record, void *context), void *context);

/* Parses a decimal number of at most LIMIT. Returns false for any other text. */
bool parse_decimal(const char *text, uint64_t limit, uint64_t *value);

/* The text of a fault. The next call overwrites it. */
const char *fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
