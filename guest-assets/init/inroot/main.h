/* The command inroot: it changes one thing in the container's root (docs/guest.md, "inroot"). */
#ifndef RUNX_INROOT_MAIN_H
#define RUNX_INROOT_MAIN_H

/* Returns the exit status. */
int inroot_main(int argc, char **argv);

#endif
