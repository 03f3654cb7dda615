/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_OWN_PORTS_H
#define CORE_OWN_PORTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/addr.h"
#include "base/map.h"

/**
 * struct own_port - where limpid sends datagrams from
 * @address:	its ip may be unspecified: any of this host
 * @looped:	a datagram from here has come back
 * @kept:	it is a client's own ip:port
 */
struct own_port {
	struct map_node node;
	struct addr address;
	atomic_bool looped;
	bool kept;
};

/**
 * struct own_ports - ports of limpid's towards servers; shared by all workers
 * @lock:	of @map
 * @told:	a person has been told of the first loop
 */
struct own_ports {
	pthread_mutex_t lock;
	struct map map;
	atomic_bool told;
};

void own_ports_init(struct own_ports *t);
void own_ports_done(struct own_ports *t); /* all ports have been taken out */

/**
 * own_ports_add() - note a port, before the first datagram leaves it
 * @fd:		the socket, bound
 * @ret:	to be given to own_ports_del() before the socket is closed
 *
 * Return: 0 or -errno.
 */
int own_ports_add(struct own_ports *t, int fd, struct own_port **ret);

/**
 * own_ports_keep() - note a client's own ip:port, before a socket is bound to it
 * @client:	where that will be
 * @ret:	to be given to own_ports_del() before the socket is closed
 *
 * A client may be met at several listeners, or by several that speak for it.  Sockets that may
 * stand beside a wildcard one may stand beside each other, too, and the last would get all replies.
 * Return: 0, -EADDRINUSE: there is one already, -ENOMEM.
 */
int own_ports_keep(struct own_ports *t, const struct addr *client, struct own_port **ret);

void own_ports_del(struct own_ports *t, struct own_port *p); /* NULL: nothing */

/**
 * own_ports_came_back() - has limpid sent the datagram that has just come?
 * @from:	who sent it
 * @to:		where it wanted to go
 * @mark:	that rules should have excepted
 *
 * A person is told once.
 */
bool own_ports_came_back(struct own_ports *t, const struct addr *from, const struct addr *to,
			 uint32_t mark);

/* Tell a person, once, what came back. */
void own_ports_tell(struct own_ports *t, const struct addr *from, const struct addr *to,
		    uint32_t mark);

#endif
