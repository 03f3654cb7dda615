/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SETTINGS_H
#define CORE_SETTINGS_H

#include <stdint.h>

struct timeouts {
	uint32_t sniff_ms;	 /* for the client's first bytes, where policy needs them */
	uint32_t connect_ms;	 /* for the server's SYN-ACK */
	uint32_t idle_ms;	 /* no byte in either direction */
	uint32_t half_closed_ms; /* no byte after one side has ended */
	uint32_t deny_ms;	 /* how long a denied flow is held before RST */
	uint32_t udp_ms;	 /* a session of datagrams: none in either direction */
	uint32_t quic_ms;	 /* the same to port 443 */
	uint32_t dns_ms;	 /* the same to port 53, a query unanswered */
	uint32_t drain_ms;	 /* how long SIGTERM waits for flows to end */
};

struct limits {
	uint32_t flows;			 /* at once, in total; 0: what descriptors allow */
	uint32_t sessions;		 /* of datagrams, per port; 0: what descriptors allow */
	uint32_t sessions_per_client;	 /* the same of one ip */
	uint32_t threads;		 /* 0: one per core */
	uint32_t look_ahead_bytes;	 /* per flow */
	uint64_t look_ahead_total_bytes; /* all flows together */
	uint32_t record_queue_bytes;	 /* per thread: records waiting to be written */
};

#endif
