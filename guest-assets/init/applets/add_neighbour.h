/* The command add-neighbour (docs/guest.md). */
#ifndef RUNX_APPLETS_ADD_NEIGHBOUR_H
#define RUNX_APPLETS_ADD_NEIGHBOUR_H

/* Returns the exit status. */
int add_neighbour_main(int argc, char **argv);

#endif
