/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LEARN_LEARN_H
#define LEARN_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/parts.h"

/* The learners there are; each is one file beside this one. */

/* Destination of a connection that TPROXY delivered: the accepted socket's own address. */
extern const struct learner_ops tproxy_learner_ops;

/* Destination before REDIRECT or DNAT, which conntrack remembers. */
extern const struct learner_ops redirect_learner_ops;

/* Always the same destination; conf is a struct addr. */
extern const struct learner_ops fixed_learner_ops;

/* Always the same name, in the form that facts have it. */
struct fixed_name {
	char *name;
	uint16_t port;
};
extern const struct learner_ops fixed_name_learner_ops; /* conf is a struct fixed_name */

/* The client speaks TLS with us; conf is a struct tls_accept.  @optional: one who does not is left
 * to the next learner. */
struct tls_accept {
	struct layer layer;
	bool optional;
};
extern const struct learner_ops tls_accept_learner_ops;

/* What the client says first: TLS or HTTP, and the name it asks for; conf is a uint32_t mask of
 * 1 << enum protocol. */
extern const struct learner_ops sniff_learner_ops;

/* The same where the name that is said there is the target (listener->targets), in front of it:
 * nothing is dialled before. */
extern const struct learner_ops sniff_target_learner_ops;

/* A client that asks for names, by TCP. */
extern const struct learner_ops dns_learner_ops;

/*
 * A client that knows limpid as its HTTP/1 proxy: CONNECT, or requests in absolute form.  To stand
 * behind learners of other explicit protocols: it takes whatever they did not.
 */
extern const struct learner_ops http_proxy_learner_ops;

/**
 * struct socks_conf - a SOCKS listener
 * @shared:	other protocols are spoken there, too: what is not SOCKS is left to others
 */
struct socks_conf {
	bool shared;
};
extern const struct learner_ops socks_learner_ops; /* conf is a struct socks_conf */

/* A header of the PROXY protocol, before all else; conf is a struct proxy_header_conf. */
extern const struct learner_ops proxy_header_learner_ops;

#endif
