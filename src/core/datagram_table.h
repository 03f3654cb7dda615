/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DATAGRAM_TABLE_H
#define CORE_DATAGRAM_TABLE_H

#include "base/list.h"
#include "base/map.h"
#include "base/pool.h"
#include "core/datagram.h"
#include "core/own_ports.h"
#include "sys/udp.h"

/* Who is talking to whom; for datagram.c.  Nothing here knows sockets. */

#define DATAGRAM_SOURCES 3 /* enum source */
#define DATAGRAM_UPSTREAMS (DATAGRAM_SOURCES + 1)

struct datagram_client; /* how many sessions one ip has */

/**
 * struct datagram_upstream - a session's socket towards servers, for one kind of source
 * @entry:	it is this one's alone; NULL: the session's
 * @fd:		-1: not made yet
 * @own:	its note, unless it has the client's own ip:port
 */
struct datagram_upstream {
	struct watch watch;
	struct datagram_session *session;
	struct datagram_entry *entry;
	struct own_port *own;
	int fd;
};

/**
 * struct datagram_session - one client ip:port; lives while it has entries
 * @by_use, @by_use_ip: among all sessions and among those of its ip, the longest unused first;
 *		those whose last datagram was a server's have lists of their own
 * @used_ms:	when a datagram last passed, on the loop's clock
 * @answered:	it was a server's
 * @client_ip:	counts for the limit of one ip
 * @outer_from, @outer_to: of its datagrams, where they only speak for @client; .family 0: they are
 *		its own
 * @entries:	by @answered of theirs, the longest unused first
 * @upstream:	by enum source, and one for servers of the other family; almost always only one is
 *		made
 */
struct datagram_session {
	struct map_node node;
	struct list by_use, by_use_ip;
	uint64_t used_ms;
	bool answered;
	struct datagram_port *port;
	struct datagram_client *client_ip;
	struct addr client;
	struct addr outer_from, outer_to;
	struct list entries[2];
	uint32_t n_entries;
	struct datagram_upstream upstream[DATAGRAM_UPSTREAMS];
};

/**
 * struct datagram_entry - what one client has with one destination
 * @report:	what is told at its end; @report.why is what the end by idling would mean
 * @upstream:	NULL: denied or rejected
 * @answered:	its last datagram was the server's
 * @by_loopback: its first datagram came in by lo
 * @between, @no_between: a socket for trains of replies; it could not be had
 * @tells:	each datagram to the server has a header of the PROXY protocol in front
 * @questions:	to port 53: what the owner has noted of them
 * @start_loop_ms, @last_ms: first and last datagram, on the loop's clock
 */
struct datagram_entry {
	struct map_node node;
	struct list link; /* in session->entries[@answered] */
	struct timer timer;
	struct datagram_session *session;
	struct datagram_upstream *upstream;
	struct datagram_between *between;
	bool no_between, by_loopback, tells, answered;
	struct datagram_report report;
	struct questions questions;
	uint64_t start_loop_ms, last_ms;
};

/**
 * struct datagram_table - all sessions and entries of one port, within limits
 */
struct datagram_table {
	struct map clients, sessions, entries;
	struct pool session_pool, entry_pool;
	struct list by_use[2]; /* by session->answered */
	struct datagram_limits limits;
};

void datagram_table_init(struct datagram_table *t, const struct datagram_limits *limits);
void datagram_table_done(struct datagram_table *t); /* it is empty */

/* Who sends the datagrams of @s, and is sent its replies. */
static inline const struct addr *datagram_session_peer(const struct datagram_session *s)
{
	return s->outer_from.family ? &s->outer_from : &s->client;
}

/* @outer: what they come in, NULL: nothing.  A client for whom several speak has several. */
struct datagram_session *datagram_session_find(const struct datagram_table *t,
					       const struct addr *client,
					       const struct udp_outer *outer);

/* Return: 0, -ENOSPC: a limit was reached, -ENOMEM. */
int datagram_session_new(struct datagram_table *t, const struct addr *client,
			 const struct udp_outer *outer, struct datagram_session **ret);
void datagram_session_free(struct datagram_table *t, struct datagram_session *s);

/* A datagram of @e has passed, its server's or the client's. */
void datagram_entry_used(struct datagram_table *t, struct datagram_entry *e, uint64_t now_ms,
			 bool answered);

/* Whose end would let @client have one more: of those that count and have been unused long
 * enough, the longest unused one.  NULL: no limit stands against it, or there is none. */
struct datagram_session *datagram_session_victim(const struct datagram_table *t,
						 const struct addr *client, uint64_t now_ms,
						 const struct datagram_times *idle);

struct datagram_entry *datagram_entry_find(const struct datagram_table *t,
					   const struct datagram_session *s,
					   const struct addr *target);

/* The same among the entries of @s, for one more destination. */
struct datagram_entry *datagram_entry_victim(const struct datagram_table *t,
					     const struct datagram_session *s, uint64_t now_ms,
					     const struct datagram_times *idle);

/* Any entry of the session with that ip, whatever its port, that datagrams pass. */
struct datagram_entry *datagram_entry_find_ip(const struct datagram_session *s,
					      const struct addr *target);

/* Return: 0, -ENOSPC: a limit was reached, -ENOMEM. */
int datagram_entry_new(struct datagram_table *t, struct datagram_session *s,
		       const struct addr *target, struct datagram_entry **ret);
void datagram_entry_free(struct datagram_table *t, struct datagram_entry *e);

#endif
