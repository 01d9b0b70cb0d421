/* A command: a name, and what it does with its arguments. */
#ifndef RUNX_COMMON_COMMAND_H
#define RUNX_COMMON_COMMAND_H

#include <stddef.h>

struct command {
    const char *name;
    size_t count;                   /* of its arguments */
    size_t subject;                 /* the index of the argument that messages name */
    void (*run)(char **arguments);  /* may change the texts of its arguments */
};

/* The command NAME of a table of COUNT commands, or NULL. */
const struct command *command_of(const struct command *table, size_t count, const char *name);

#endif
