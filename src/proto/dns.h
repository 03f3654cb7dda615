/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_DNS_H
#define PROTO_DNS_H

#include <stddef.h>
#include <stdint.h>

#include "core/parts.h"
#include "core/proxy_facts.h"

/* A client that asks a DNS listener by TCP (RFC 7766); its flow is served. */
extern const struct proto_ops dns_proto_ops;

/* A UDP socket of a DNS listener, shared by all workers; @name is not owned.  @header:
 * queries begin, or may, with one of the PROXY protocol; NULL: they do not. */
struct dns_socket {
	int fd;
	uint16_t listener;
	const char *name;
	const struct proxy_header_conf *header;
};

/**
 * dns_desk_open() - let @w answer the clients of DNS listeners
 * @sockets:	valid until dns_desk_close()
 *
 * Sets w->dns.  Return: 0 or -errno.
 */
int dns_desk_open(struct worker *w, const struct dns_socket *sockets, size_t n);

/* In the worker's thread or while that does not run; its flows have ended. */
void dns_desk_close(struct worker *w);

#endif
