/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DATAGRAM_H
#define CORE_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "core/facts.h"
#include "core/policy.h"
#include "core/questions.h"
#include "core/why.h"
#include "loop/loop.h"

/*
 * Intercepted UDP.  Words: a *session* is one client ip:port; an *entry* is that client's
 * conversation with one destination, the flow of policy and records.  See datagram.c.
 */

/* Datagrams of one lane. */
struct datagram_counters {
	uint64_t bytes; /* of payload */
	uint64_t datagrams;
	uint64_t dropped; /* not counted above: queues full, or the network refused */
};

/**
 * struct datagram_report - how an entry ended
 * @listener:	its name
 * @rule:	that decided, NULL: none
 * @protocol, @host, @learnt_name: as the owner's decide() found them
 * @proxy:	what the first datagram's header of the PROXY protocol has said; NULL: it had none
 * @user, @asked: who has asked for it, and by which name; the owner's ended() may know.  NULL: not
 * @via:	who was sent its datagrams instead of the server; NULL: nobody
 * @source:	which address the server saw
 * @up:		client to server; of a denied or rejected entry: what was not passed on
 * @start_ms:	first datagram, milliseconds since 1970
 * @end_ms:	last datagram
 */
struct datagram_report {
	struct addr client, target;
	const char *listener;
	const struct rule *rule;
	enum protocol protocol;
	char *host, *learnt_name;
	struct proxy_facts *proxy;
	const char *user, *asked;
	const struct via *via;
	enum verdict verdict;
	enum source source;
	enum why why;
	struct datagram_counters up, down;
	uint64_t start_ms, end_ms;
};

/**
 * struct datagram_ops - what the owner of a port answers and hears; none may free the port
 * @decide:	a client's first datagram (@first, valid during the call) to a destination.
 *		@facts are settled, and the owner may add to them.  A decision that is not
 *		final counts as deny.  Its rule must live until the entry has ended
 * @asked:	a datagram of a client to a server, port 53 only; @q is the entry's.  May be NULL
 * @replied:	a datagram of that server, which @client will get.  May be NULL
 * @ended:	once for each entry, and for each datagram refused without one (WHY_LIMIT,
 *		WHY_NO_TARGET; of such, 100 per second: the rest is in struct datagram_stats)
 */
struct datagram_ops {
	void (*decide)(void *owner, struct facts *facts, struct span first, struct decision *ret);
	void (*asked)(void *owner, struct questions *q, struct span payload);
	void (*replied)(void *owner, struct questions *q, const struct addr *client,
			struct span payload);
	void (*ended)(void *owner, const struct datagram_report *report);
};

struct own_ports;
struct proxy_header_conf;
struct udp_batch;
struct udp_packet;

/**
 * struct datagram_front - how a port meets clients who address it, instead of being intercepted
 * @take:	a datagram from a client: sets its @to, and its @payload to what is to go there; may
 *		change its @from.  False: it is not to be passed on (now).  NULL: all are, unchanged
 * @head:	what stands in front of a reply from @from; at most DATAGRAM_HEAD_CAP bytes.
 *		Return: its bytes.  NULL: nothing does
 *
 * Replies leave through the socket on which the client's datagrams arrive; of errors it hears
 * nothing.
 */
#define DATAGRAM_HEAD_CAP 22
struct datagram_front {
	bool (*take)(void *owner, struct udp_packet *packet);
	size_t (*head)(void *owner, const struct addr *from, uint8_t out[static DATAGRAM_HEAD_CAP]);
};

/**
 * struct datagram_config - one arrival point of intercepted datagrams
 * @listen_fd:	transparent sockets (udp_listen(), struct netns_sockets), IPv4 and IPv6
 * @reply_fd:	raw sockets for what seems to come from servers (udp_raw_reply())
 * @icmp_fd:	raw sockets for ICMP errors (udp_raw_icmp())
 * @listener, @name: for the facts, for reports
 * @inside:	the clients live in another network namespace, in which no socket can be made
 * @mark:	SO_MARK of sockets towards servers, 0: none
 * @front:	NULL: clients are intercepted
 * @header:	datagrams begin, or may, with a header of the PROXY protocol.  NULL: they do not.
 *		Its listening sockets must give no trains (udp_apart())
 * @to:		where datagrams go whose header should name a destination and does not; .family 0:
 *		nowhere
 * @own:	where sockets towards servers are noted, and clients are looked up; NULL: nothing
 *		can come back
 * @batch:	the thread's; NULL: the port has one of its own
 *
 * -1 where there is no such descriptor; a listening one needs both of its raw ones, unless there
 * is a front: then it is from udp_relay().  Limits
 * and times that are 0 take their defaults.
 */
struct datagram_config {
	int listen_fd[2], reply_fd[2], icmp_fd[2];
	uint16_t listener;
	const char *name;
	bool inside;
	uint32_t mark;
	const struct datagram_front *front;
	const struct proxy_header_conf *header;
	struct addr to;
	struct own_ports *own;
	struct udp_batch *batch;
	struct datagram_limits {
		uint32_t sessions;	      /* in total: 16384 */
		uint32_t sessions_per_client; /* of one ip: 4096 */
		uint32_t entries_per_session; /* 1024; those unused make room.  All sessions
					       * together: this and four for each that there
					       * may be, in total and of one ip */
	} limits;
	struct datagram_times {
		uint32_t dns_ms;	  /* port 53, a query unanswered: 10 s */
		uint32_t dns_answered_ms; /* port 53, every query answered: 500 ms */
		uint32_t quic_ms;	  /* port 443: 30 s */
		uint32_t other_ms;	  /* 2 min (RFC 4787 REQ-5) */
		uint32_t evict_ms;   /* unused for so long, it may make room for another: 1 s */
		uint32_t evict_answered_ms; /* the same if the last was a server's: 100 ms */
		uint32_t refused_ms; /* how long a deny or reject is remembered: 10 s */
	} idle;
	const struct datagram_ops *ops;
	void *owner;
};

struct datagram_stats {
	uint64_t sessions, entries; /* now */
	uint64_t sessions_total;    /* since the start */
	uint64_t evicted;	    /* sessions ended at a limit, for others */
	uint64_t refused;	    /* datagrams without an entry: limits, no target */
	uint64_t strays;	    /* from addresses that the client had not asked */
	uint64_t up_dropped, down_dropped;
	uint64_t icmp_sent;
};

struct datagram_port;

/**
 * datagram_port_new() - begin to carry datagrams
 * @loop:	of the calling thread; everything happens on it
 * @config:	copied, but for what it points to
 *
 * On success the port owns the descriptors of @config.  Return: 0 or -errno.
 */
int datagram_port_new(struct loop *loop, const struct datagram_config *config,
		      struct datagram_port **ret);

/* End all entries (those in use with @why), close all descriptors. */
void datagram_port_end(struct datagram_port *p, enum why why);
void datagram_port_free(struct datagram_port *p); /* the same with WHY_SHUTDOWN */

/* Pass on what the front has kept: its @from, @to and @payload are as after take(). */
void datagram_port_send(struct datagram_port *p, const struct udp_packet *packet);

const struct datagram_stats *datagram_port_stats(const struct datagram_port *p);

#endif
