/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_SOCKADDR_H
#define SYS_SOCKADDR_H

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"

/* Between struct addr and the kernel's form; for src/sys only. */
union sockaddr_any {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Return: the length for bind(2) and connect(2). */
static inline socklen_t sockaddr_from_addr(union sockaddr_any *s, const struct addr *a)
{
	if (a->family == 4) {
		s->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(a->port) };
		memcpy(&s->in.sin_addr, a->ip, 4);
		return sizeof(s->in);
	}
	s->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					.sin6_port = htons(a->port),
					.sin6_scope_id = a->scope_id };
	memcpy(&s->in6.sin6_addr, a->ip, 16);
	return sizeof(s->in6);
}

static inline void sockaddr_to_addr(const union sockaddr_any *s, struct addr *ret)
{
	*ret = (struct addr){ 0 };
	if (s->sa.sa_family == AF_INET) {
		ret->family = 4;
		ret->port = ntohs(s->in.sin_port);
		memcpy(ret->ip, &s->in.sin_addr, 4);
	} else if (s->sa.sa_family == AF_INET6) {
		ret->family = 6;
		ret->port = ntohs(s->in6.sin6_port);
		ret->scope_id = s->in6.sin6_scope_id;
		memcpy(ret->ip, &s->in6.sin6_addr, 16);
		addr_unmap(ret);
	}
}

#endif
