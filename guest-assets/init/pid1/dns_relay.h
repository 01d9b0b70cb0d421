/* A DNS server for names that an engine resolves on the host. It hands questions to the host (docs/networking.md, "Names"). */
#ifndef RUNX_PID1_DNS_RELAY_H
#define RUNX_PID1_DNS_RELAY_H

#include <stddef.h>

/* Starts the server at an IPv4 address of 4 bytes. */
void dns_serve(const unsigned char *address, size_t length);
/* The descriptor for poll(2), -1 without a server. */
int dns_fd(void);
/* Sends waiting questions to the host, as long as the link has room. */
void dns_relay(void);
/* Sends an answer of the host to the program that asked; changes MESSAGE. */
void dns_answer(unsigned char *message, size_t length);

#endif
