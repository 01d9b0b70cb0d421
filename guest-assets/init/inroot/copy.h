/* The mount option tmpcopyup. */
#ifndef RUNX_INROOT_COPY_H
#define RUNX_INROOT_COPY_H

/* Copies the content of the directory BELOW into the directory ABOVE, with owners, modes and times. */
void copy_up(int below, int above);

#endif
