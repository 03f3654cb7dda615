/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_PROXY_FACTS_H
#define CORE_PROXY_FACTS_H

#include "codec/proxy_header.h"
#include "core/facts.h"
#include "core/why.h"

struct netset;

/**
 * struct proxy_header_conf - who may send a header of the PROXY protocol, and what it means
 * @trusted:	senders; the headers of others are not read.  NULL: nobody
 * @required:	a flow without a header is refused
 * @names_target: its destination is the target
 * @any_transport: it may speak of datagrams though it came in a stream
 */
struct proxy_header_conf {
	const struct netset *trusted;
	bool required, names_target, any_transport;
};

/* May @sender say who the client is? */
bool proxy_header_trusts(const struct proxy_header_conf *conf, const struct addr *sender);

/**
 * facts_introduce() - take over what a header says, but for its destination
 * @f:	f->client is the sender, and becomes the client that the header names, if it does
 *
 * Return: 0 or -ENOMEM.
 */
int facts_introduce(struct facts *f, const struct proxy_header *h);

/**
 * proxy_datagram_parse() - the header that stands in front of a datagram
 * @ret:	ret->bytes is 0 where there is none, and none is required
 *
 * It is whole, of version 2, and may speak of a stream: senders that turn queries of one kind into
 * the other say what their client used.  Return: WHY_OPEN, or why the datagram is refused.
 */
enum why proxy_datagram_parse(const struct proxy_header_conf *conf, const struct addr *sender,
			      struct span datagram, struct proxy_header *ret);

#endif
