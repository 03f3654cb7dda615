/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DNS_SOCKETS_H
#define ENGINE_DNS_SOCKETS_H

#include <stdbool.h>

#include "base/addr.h"
#include "proto/dns.h"

struct listener_config;

/**
 * struct dns_sockets - the UDP sockets of DNS listeners
 * @wanted:	there is such a listener, perhaps for TCP only
 */
struct dns_sockets {
	struct dns_socket *list;
	size_t n;
	bool wanted;
};

/* One more, for the listener @index, which is @l.  Return: 0 or -errno. */
int dns_sockets_listen(struct dns_sockets *s, const struct addr *a, uint16_t index,
		       const struct listener_config *l, uint32_t mark);
void dns_sockets_done(struct dns_sockets *s);

#endif
