#include "common/command.h"

#include <string.h>

const struct command *command_of(const struct command *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(table[i].name, name))
            return &table[i];
    return NULL;
}
