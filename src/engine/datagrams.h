/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DATAGRAMS_H
#define ENGINE_DATAGRAMS_H

#include <stdint.h>

#include "core/worker.h"

struct datagrams;
struct netns_sockets;

/* The datagrams of a command's namespace: DNS is carried, the rest is refused, and said so.
 * Owns the datagram sockets of @sockets.  Return: 0 or -errno. */
int datagrams_new(const struct netns_sockets *sockets, uint16_t listener, uint32_t mark,
		  struct datagrams **ret);

/* In the thread of @w: begin, end.  Return: 0 or -errno. */
int datagrams_open(struct datagrams *d, struct worker *w);
void datagrams_close(struct datagrams *d);

void datagrams_free(struct datagrams *d);

#endif
