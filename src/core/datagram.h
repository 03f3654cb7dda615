/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DATAGRAM_H
#define CORE_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "core/facts.h"
#include "core/policy.h"
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
 * @protocol, @host: as the owner's decide() found them
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
	char *host;
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
 * @ended:	once for each entry, and for each datagram refused without one (WHY_LIMIT,
 *		WHY_NO_TARGET; of such, 100 per second: the rest is in struct datagram_stats)
 */
struct datagram_ops {
	void (*decide)(void *owner, struct facts *facts, struct span first, struct decision *ret);
	void (*ended)(void *owner, const struct datagram_report *report);
};

/**
 * struct datagram_config - one arrival point of intercepted datagrams
 * @listen_fd:	transparent sockets (udp_listen(), struct netns_sockets), IPv4 and IPv6
 * @reply_fd:	raw sockets for what seems to come from servers (udp_raw_reply())
 * @icmp_fd:	raw sockets for ICMP errors (udp_raw_icmp())
 * @listener, @name: for the facts, for reports
 * @inside:	the clients live in another network namespace, in which no socket can be made
 * @mark:	SO_MARK of sockets towards servers, 0: none
 *
 * -1 where there is no such descriptor; a listening one needs both of its raw ones.  Limits
 * and times that are 0 take their defaults.
 */
struct datagram_config {
	int listen_fd[2], reply_fd[2], icmp_fd[2];
	uint16_t listener;
	const char *name;
	bool inside;
	uint32_t mark;
	struct datagram_limits {
		uint32_t sessions;	      /* in total: 16384 */
		uint32_t sessions_per_client; /* of one ip: 4096 */
		uint32_t entries_per_session; /* 1024 */
	} limits;
	struct datagram_times {
		uint32_t dns_ms;	  /* port 53, a query unanswered: 10 s */
		uint32_t dns_answered_ms; /* port 53, every query answered: 500 ms */
		uint32_t quic_ms;	  /* port 443: 30 s */
		uint32_t other_ms;	  /* 2 min (RFC 4787 REQ-5) */
		uint32_t evict_ms;   /* unused for so long, it may make room for another: 1 s */
		uint32_t refused_ms; /* how long a deny, reject or ICMP error is remembered: 10 s */
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

/* End all entries (those in use with WHY_SHUTDOWN), close all descriptors. */
void datagram_port_free(struct datagram_port *p);

const struct datagram_stats *datagram_port_stats(const struct datagram_port *p);

#endif
