/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_KNOCK_H
#define CORE_KNOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "codec/ip_tcp.h"
#include "core/handover.h"
#include "loop/loop.h"

struct flow;
struct listener;
struct worker;

/**
 * struct knock_queue - where the SYNs of an honest listener come from
 * @fd:		as from nfqueue_open(); owned by the engine, like all of these
 * @number:	of the queue
 * @raw_fd:	for what is answered, IPv4 and IPv6: ip_raw_open(); -1: none
 * @listener:	where the connections arrive, IPv4 and IPv6; NULL: none
 */
struct knock_queue {
	int fd;
	uint16_t number;
	int raw_fd[2];
	const struct listener *listener[2];
};

static inline unsigned int knock_family_index(const struct addr *a)
{
	return a->family == 6;
}

/**
 * struct knock - a client's SYN, which the kernel holds until the server has answered
 * @queue:	that it came from
 * @worker:	that carries @flow
 * @carry:	on its way to @worker
 * @flow:	NULL: not begun yet, or ended; @worker's thread changes it
 * @by_loopback: it began on this host
 * @arrived:	the client has been brought to @flow; for @worker's thread only
 * @packet:	the held packet
 * @syn, @head:	what it says; @head is its first @syn.head_len bytes
 * @released:	the packet has been let go
 * @joined:	the client has been accepted
 * @listed:	in the table
 *
 * From @packet on under the table's lock while it is listed.  It belongs to its flow, and while
 * it is carried to one, to who carries it.
 */
struct knock {
	struct map_node node;
	const struct knock_queue *queue;
	struct worker *worker;
	struct handover carry;
	struct flow *flow;
	struct addr client, target;
	bool by_loopback, arrived;
	uint32_t packet;
	struct ip_tcp syn;
	uint8_t head[IP_TCP_HEAD_MAX];
	bool released, joined, listed;
};

/* The knocks of a realm.  @n_released: let go, and the client not accepted yet. */
struct knock_table {
	pthread_mutex_t lock;
	struct map map;
	atomic_uint n_released;
};

void knock_table_init(struct knock_table *t, uint64_t seed);
void knock_table_done(struct knock_table *t); /* frees what is still listed */

enum knock_result {
	KNOCK_NEW,   /* nobody of this ip:port waits to get there */
	KNOCK_AGAIN, /* somebody does: the newer packet is held now, the older is to be dropped */
	KNOCK_RELEASED, /* that one had been let go: so is this one, a duplicate of it */
	KNOCK_NO_MEMORY,
};

/**
 * knock_note() - a SYN has come
 * @model:	what is known of it: queue, worker, packet, syn, head
 * @ret:	KNOCK_NEW: it, listed
 * @ret_older:	KNOCK_AGAIN: the packet that was held until now
 */
enum knock_result knock_note(struct knock_table *t, const struct knock *model, struct knock **ret,
			     uint32_t *ret_older);

/* Its flow has begun: from now on a client may be brought to it. */
void knock_begin(struct knock_table *t, struct knock *k, struct flow *f);

/* Its packet is about to be let go; it is @ret_packet.  False: the client is there already. */
bool knock_release(struct knock_table *t, struct knock *k, uint32_t *ret_packet);

/* A client has been accepted: is it one who knocked?  Then it is the caller's to bring to its
 * flow.  NULL: it is not. */
struct knock *knock_claim(struct knock_table *t, const struct addr *client,
			  const struct addr *target);

/* Its flow has ended.  Return: true, it is of no use to anybody; false: whoever claimed it brings
 * a client for it. */
bool knock_forget(struct knock_table *t, struct knock *k);

/* Drop its packet, or let it go. */
void knock_verdict(const struct knock_queue *q, uint32_t packet, bool accept);

/**
 * struct worker_knocks - one worker's watch on one queue
 */
struct worker_knocks {
	struct watch watch;
	struct worker *worker;
	const struct knock_queue *queue;
};

/* Worker only: SYNs have come. */
void knock_on_ready(struct watch *watch, uint32_t ready);

#endif
