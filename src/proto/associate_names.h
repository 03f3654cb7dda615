/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_ASSOCIATE_NAMES_H
#define PROTO_ASSOCIATE_NAMES_H

#include <stdbool.h>

#include "base/list.h"
#include "core/lookup.h"
#include "core/why.h"
#include "sys/udp.h"

struct worker;

/**
 * struct associate_names - the names that the client of one association sends to
 * @may:	does policy let it send to @to, an address of @name?
 * @refused:	does policy refuse @name at @port, whatever its address is?  If so it has been
 *		recorded, and nobody is asked
 * @send:	an address of a kept datagram's name is known
 * @failed:	@name has none; what was kept is dropped
 */
struct associate_names {
	struct worker *worker;
	struct list list; /* the one unused for longest first */
	unsigned int n;
	size_t kept_bytes;
	bool (*may)(struct associate_names *names, const char *name, const struct addr *to);
	bool (*refused)(struct associate_names *names, const char *name, uint16_t port);
	void (*send)(struct associate_names *names, const struct udp_packet *packet);
	void (*failed)(struct associate_names *names, const char *name, uint16_t port,
		       enum why why);
};

void associate_names_init(struct associate_names *names, struct worker *w);
void associate_names_done(struct associate_names *names);

/**
 * associate_names_resolve() - where a datagram to @name goes
 * @packet:	.to.port is set; on true .to is the address
 *
 * False: it is not known yet; @packet is kept as far as that goes, and send() called later.
 */
bool associate_names_resolve(struct associate_names *names, const char *name,
			     struct udp_packet *packet);

/* The name by which the client knows the ip of @a; NULL: none. */
const char *associate_names_of(const struct associate_names *names, const struct addr *a);

#endif
