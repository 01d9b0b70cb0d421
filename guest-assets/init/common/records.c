#include "common/records.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char message[512];

const char *fault(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return message;
}

bool parse_decimal(const char *text, uint64_t limit, uint64_t *value)
{
    uint64_t result = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned char)*text - '0';
        if (digit > 9 || result > (UINT64_MAX - digit) / 10)
            return false;
        result = result * 10 + digit;
    }
    *value = result;
    return result <= limit;
}

const char *records_read(char *text, size_t size, const char *(*take)(const struct record *record, void *context), void *context)
{
    if (!size || text[size - 1])
        return "does not end with NUL";
    for (char *at = text, *end = text + size; at < end;) {
        struct record record = {.name = at};
        uint64_t count;
        at += strlen(at) + 1;
        /* Every value takes a byte at least, so no count is larger than the file. */
        if (at >= end || !parse_decimal(at, (uint64_t)size, &count))
            return fault("record \"%s\" has no count", record.name);
        at += strlen(at) + 1;
        record.count = (size_t)count;
        record.values = calloc(record.count + 2, sizeof *record.values);
        if (!record.values)
            return "out of memory";
        for (size_t i = 0; i < record.count; i++) {
            if (at >= end)
                return fault("record \"%s\" has fewer than %zu values", record.name, record.count);
            record.values[i] = at;
            at += strlen(at) + 1;
        }
        const char *wrong = take(&record, context);
        if (wrong)
            return wrong;
    }
    return NULL;
}
