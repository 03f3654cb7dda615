/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  What core/own_ends.h is for connections: rules that turn round what this
 * host sends must let limpid's own datagrams pass.  Where they do not, each datagram comes back
 * as that of a new client, which needs a port, from which it is sent again, for ever.
 *
 * A client's first datagram is compared with the ports that limpid sends from.  They are bound,
 * and noted here, before anything leaves them, so it does not matter how quickly it comes back.
 * Most are bound to no address, and are ours at every address of this host.
 *
 * A port that is a client's own ip:port (source: keep) cannot be told from the client by these;
 * see route_packet() in datagram.c.  It is noted so that it is kept only once.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/own_ports.h"
#include "sys/log.h"
#include "sys/sock.h"

void own_ports_init(struct own_ports *t)
{
	uint64_t seed;

	arc4random_buf(&seed, sizeof(seed));
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->map, seed);
	atomic_store(&t->told, false);
}

void own_ports_done(struct own_ports *t)
{
	map_done(&t->map);
	pthread_mutex_destroy(&t->lock);
}

int own_ports_add(struct own_ports *t, int fd, struct own_port **ret)
{
	struct own_port *p = NEW0(struct own_port);
	int r;

	if (!p)
		return -ENOMEM;
	r = sock_local(fd, &p->address);
	p->address.scope_id = 0; /* not in packets */
	if (!r) {
		pthread_mutex_lock(&t->lock);
		r = map_add(&t->map, &p->node, map_hash_addr(&t->map, &p->address, 0));
		pthread_mutex_unlock(&t->lock);
	}
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int own_ports_keep(struct own_ports *t, const struct addr *client, struct own_port **ret)
{
	struct own_port *p = NEW0(struct own_port);
	uint64_t hash;
	int r = 0;

	if (!p)
		return -ENOMEM;
	p->address = *client;
	p->kept = true;
	pthread_mutex_lock(&t->lock);
	hash = map_hash_addr(&t->map, client, 0);
	for (struct map_node *n = map_first(&t->map, hash); n && !r; n = map_next(n)) {
		const struct own_port *other = map_entry(n, struct own_port, node);

		if (other->kept && addr_eq(&other->address, client))
			r = -EADDRINUSE;
	}
	if (!r)
		r = map_add(&t->map, &p->node, hash);
	pthread_mutex_unlock(&t->lock);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void own_ports_del(struct own_ports *t, struct own_port *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&t->lock);
	map_del(&t->map, &p->node);
	pthread_mutex_unlock(&t->lock);
	free(p);
}

/* Is there one with exactly this address?  If it has @looped, that is noted. */
static bool find(struct own_ports *t, const struct addr *a, bool looped)
{
	bool found = false;

	pthread_mutex_lock(&t->lock);
	for (struct map_node *n = map_first(&t->map, map_hash_addr(&t->map, a, 0)); n;
	     n = map_next(n)) {
		struct own_port *p = map_entry(n, struct own_port, node);

		if (p->kept || !addr_eq(&p->address, a))
			continue;
		found = true;
		if (looped)
			atomic_store(&p->looped, true);
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

void own_ports_tell(struct own_ports *t, const struct addr *from, const struct addr *to,
		    uint32_t mark)
{
	char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];

	if (atomic_exchange(&t->told, true))
		return;
	log_line(LOG_WARNING,
		 "loop: limpid's own datagram %s => %s came back to it; the rules that send "
		 "datagrams here must except its mark, 0x%x (firewall.mark), or its user, and "
		 "headers of the PROXY protocol must not name who sends them",
		 addr_format(from, a), addr_format(to, b), mark);
}

bool own_ports_came_back(struct own_ports *t, const struct addr *from, const struct addr *to,
			 uint32_t mark)
{
	struct addr exact = *from, any = { .family = from->family, .port = from->port };

	exact.scope_id = 0;
	if (!find(t, &exact, true)) {
		/* the second question is for those that are almost certainly ours */
		if (!find(t, &any, false) || !sock_ip_is_local(from))
			return false;
		find(t, &any, true);
	}
	own_ports_tell(t, from, to, mark);
	return true;
}
