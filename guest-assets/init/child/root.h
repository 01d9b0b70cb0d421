/* The last step into the root that the set-up has assembled. */
#ifndef RUNX_CHILD_ROOT_H
#define RUNX_CHILD_ROOT_H

/* Gives this process a mount namespace of its own, into which and out of which nothing is propagated. */
void root_mounts_of_its_own(int report);
/* Moves the new root over the old one, as switch_root(8) does: the root of a ramdisk cannot be pivoted or unmounted. */
void root_enter(int report);

#endif
