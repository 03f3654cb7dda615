/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_VIA_H
#define CORE_VIA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "core/parts.h"

/* How many proxies one behind the other. */
#define VIA_HOPS_MAX 8

enum via_type {
	VIA_SOCKS5,
	VIA_HTTP,
	VIA_HTTPS,
	VIA_PROXY_V1, /* whoever listens there reads a header of the PROXY protocol */
	VIA_PROXY_V2,
};

/**
 * struct via - an upstream proxy; immutable
 * @name:	what records call it
 * @address:	where it is; .family 0: at @host, and .port is set all the same
 * @host:	a name, in the form that facts have it; NULL with an address
 * @user, @password: what it wants to know; NULL: nothing
 * @via:	the proxy through which this one is reached; NULL: directly
 * @tls:	VIA_HTTPS: pushed before it is spoken to
 */
struct via {
	char *name;
	enum via_type type;
	struct addr address;
	char *host;
	char *user, *password;
	const struct via *via;
	struct layer tls;
};

static inline bool via_is_header(const struct via *v)
{
	return v->type == VIA_PROXY_V1 || v->type == VIA_PROXY_V2;
}

/* Only a header in front of each datagram says where it is to go. */
static inline bool via_takes_datagrams(const struct via *v)
{
	return v->type == VIA_PROXY_V2 && !v->via && v->address.family;
}

/* A connection through @v (may be NULL) belongs to one client. */
static inline bool via_names_client(const struct via *v)
{
	while (v && !via_is_header(v))
		v = v->via;
	return v;
}

#endif
