/* The words of mount options (docs/guest.md, "/runx/setup"). */
#ifndef RUNX_INROOT_OPTIONS_H
#define RUNX_INROOT_OPTIONS_H

#include <stdbool.h>

struct options {
    unsigned long flags; /* of mount(2) */
    bool has_flags;      /* a flag word was given, even one that only clears a flag */
    bool copy_up;        /* tmpcopyup */
    char data[4096];     /* the other words, for the file system; mount(2) takes a page at most */
};

/* Reads the comma separated list TEXT, or "-" for none, and changes TEXT. */
void read_options(char *text, struct options *options);

/* The mount(2) flags of a propagation word (mount_namespaces(7)); 0 for any other word. */
unsigned long propagation_flags(const char *word);

#endif
