/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DATAGRAMS_H
#define ENGINE_DATAGRAMS_H

#include <stddef.h>
#include <stdint.h>

#include "core/datagram.h"
#include "core/worker.h"

struct datagrams;
struct listener_config;

/* Policy and records for datagrams; the owner is the worker that carries them. */
extern const struct datagram_ops datagrams_ops;

struct netns_sockets;

/* The datagram ports of an engine; none yet.  NULL: no memory. */
struct datagrams *datagrams_new(void);

/**
 * datagrams_listen() - open the sockets of one more port
 * @a:		where to listen, transparently unless a header is to name the destination
 * @index:	of the listener
 * @ret_what:	on error which socket was refused, a constant string
 *
 * Return: 0 or -errno.
 */
int datagrams_listen(struct datagrams *d, const struct addr *a, uint16_t index,
		     const struct listener_config *l, uint32_t mark, const char **ret_what);

/* One more port, of a command's namespace.  Owns the datagram sockets of @sockets in any case.
 * Return: 0 or -errno. */
int datagrams_adopt(struct datagrams *d, const struct netns_sockets *sockets, uint16_t index,
		    const char *name, uint32_t mark);

size_t datagrams_count(const struct datagrams *d);

/* Begin and end what @w carries of the ports: in its thread, or while that does not run.
 * Return: 0 or -errno. */
int datagrams_open(struct datagrams *d, struct worker *w);
void datagrams_close(struct datagrams *d, struct worker *w);

void datagrams_free(struct datagrams *d);

#endif
