/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A server behind limpid may be told by a header of the PROXY protocol who
 * its client is.  The header goes under all filters: interceptors see what the client says, and
 * no more.  It lies in the lane as what was read and not yet taken, so it leaves together with
 * the first bytes that are known, and at once where there are none: the server may be the one to
 * speak first.  A proto that serves its client by itself has lanes of its own, and its servers
 * are new here: their sockets take a header whole.
 */
#include "codec/proxy_header.h"
#include "core/flow.h"

size_t flow_header_write(const struct flow *f, uint8_t version, const struct addr *destination,
			 uint8_t *out)
{
	const struct facts *facts = &f->facts;
	bool asked = facts->host && (facts->protocol == PROTOCOL_TLS || facts->named);

	return proxy_header_write(out, version, &facts->client, destination, false,
				  asked ? span_str(facts->host) : span_of(NULL, 0));
}

int flow_introduce(struct flow *f)
{
	uint8_t header[PROXY_HEADER_WRITE_CAP];
	struct span s = span_of(header, flow_header_write(f, f->plan.proxy_header,
							  &f->facts.target, header));

	if (!f->served)
		return buf_append(&f->up.rest, s, SIZE_MAX);
	/* one that is dead already says so by itself */
	(void)stream_write(f->server.top, s.data, s.len);
	return 0;
}
