/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SETTINGS_H
#define CORE_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct timeouts {
	uint32_t sniff_ms;	 /* for the client's first bytes, where policy needs them */
	uint32_t connect_ms;	 /* for the server's SYN-ACK */
	uint32_t bind_ms;	 /* for the one who is to connect (SOCKS BIND) */
	uint32_t idle_ms;	 /* no byte in either direction */
	uint32_t half_closed_ms; /* no byte after one side has ended */
	uint32_t deny_ms;	 /* how long a denied flow is held before RST */
	uint32_t keep_alive_ms;	 /* HTTP proxy: a connection on which nothing is asked */
	uint32_t udp_ms;	 /* a session of datagrams: none in either direction */
	uint32_t quic_ms;	 /* the same to port 443 */
	uint32_t dns_ms;	 /* the same to port 53, a query unanswered */
	uint32_t drain_ms;	 /* how long SIGTERM waits for flows to end */
};

struct limits {
	uint32_t flows;			 /* at once, in total; 0: what descriptors allow */
	uint32_t sessions;		 /* of datagrams, per port; 0: what descriptors allow */
	uint32_t sessions_per_client;	 /* the same of one ip */
	uint32_t held_syns;		 /* per honest listener: SYNs waiting for their server */
	uint32_t threads;		 /* 0: one per core */
	uint32_t origins;		 /* per thread: connections to HTTP servers that wait */
	uint32_t look_ahead_bytes;	 /* per flow */
	uint64_t look_ahead_total_bytes; /* all flows together */
	uint32_t lookups;		 /* per thread: names being asked for at once */
	uint32_t names;			 /* per thread: answers kept while they are valid */
	uint32_t learnt_names;		 /* in total: addresses that clients were told for names */
	uint32_t record_queue_bytes;	 /* per thread: records waiting to be written */
};

/**
 * struct resolver_settings - how names are asked for
 * @servers:	in the order in which they are asked; port 0: 53.  None: those of the host
 * @timeout_ms:	for one server to answer; twice that in the second round, and so on
 * @attempts:	rounds through the servers
 * @rotate:	begin each question with the next server, not always with the first
 */
struct resolver_settings {
	struct addr *servers;
	size_t n_servers;
	uint32_t timeout_ms;
	uint32_t attempts;
	uint32_t rotate;
};

#endif
