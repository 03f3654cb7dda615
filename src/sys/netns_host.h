/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NETNS_HOST_H
#define SYS_NETNS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* More addresses or routes than these are left out. */
#define NETNS_HOST_ADDRS_MAX 64
#define NETNS_HOST_ROUTES_MAX 64

/**
 * struct netns_host - the part of the host's network that the command is to see again
 * @has_v6:	::1 answers
 * @addrs:	addresses of the host's interfaces, without loopback and link-local ones
 * @routes:	where the host would send packets to, and from which of @addrs
 *
 * A family whose default leads somewhere has that one route; else each network it knows.
 */
struct netns_host {
	bool has_v6;
	size_t addrs_len;
	size_t routes_len;
	struct addr addrs[NETNS_HOST_ADDRS_MAX];
	struct netns_route {
		struct addr net;
		struct addr source;
		uint8_t prefix_bits;
	} routes[NETNS_HOST_ROUTES_MAX];
};

/**
 * netns_host_look() - fill in a struct netns_host; to be called in the host's namespace
 *
 * The kernel is asked (by connect(2) of UDP sockets, which sends nothing), so that policy
 * routing counts.
 *
 * Return: 0 or -errno.
 */
int netns_host_look(struct netns_host *h);

#endif
