/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FACTS_H
#define CORE_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

enum network {
	NETWORK_TCP,
	NETWORK_UDP,
};

/* What the client speaks.  UNKNOWN: nothing seen yet.  OTHER: seen, and none of those we name. */
enum protocol {
	PROTOCOL_UNKNOWN,
	PROTOCOL_OTHER,
	PROTOCOL_TLS,
	PROTOCOL_HTTP,
	PROTOCOL_DNS,
};

/**
 * struct proxy_facts - what a header of the PROXY protocol has said
 * @sender:	whose connection it is; facts.client is the client that the header names
 * @version:	1 or 2
 * @local:	LOCAL or UNKNOWN: it names no addresses
 * @ssl, @ssl_verified: there is a TLV about TLS; the client has shown a certificate that is good
 * @alpn, @authority, @unique_id, @netns, @ssl_version, @ssl_cn, @ssl_cipher: TLVs, @unique_id in
 *		hexadecimal digits; NULL: absent
 */
struct proxy_facts {
	struct addr sender;
	uint8_t version;
	bool local, ssl, ssl_verified;
	char *alpn, *authority, *unique_id, *netns;
	char *ssl_version, *ssl_cn, *ssl_cipher;
};

/**
 * struct facts - all that is known about a flow so far
 * @network:	always known
 * @client:	who dialled; always known once the flow exists
 * @target:	whom the client asked for; .family 0 until a learner knows.  With @target_name
 *		the port is known at once, the address when one of the name's has answered
 * @target_name: the target is this name and not an address: lower case, without a trailing
 *		dot; else NULL.  Owned by the flow
 * @listener:	index of the listener in the configuration, always known
 * @protocol:	PROTOCOL_UNKNOWN until the client's first bytes are understood
 * @host:	name the client asked for (SNI, Host, SOCKS name), lower case, without a
 *		trailing dot or port; NULL while unknown.  Owned by the flow
 * @learnt_name: of a flow without @host: the name for which a name server gave the client
 *		@target's address (core/names.h); NULL: none is known.  Owned by the flow
 * @alpn:	protocols the ClientHello offers, comma separated; NULL if none.  Owned by the flow
 * @user:	who the client has logged in as; NULL: nobody.  Owned by the flow
 * @proxy:	what the PROXY header has said; NULL: there was none.  Owned by the flow
 * @http:	request line of the first request, NULL if none.  Owned by the flow
 * @tls_version: highest version the ClientHello offers (0x0304 is TLS 1.3), 0 if unknown
 * @ech:	the ClientHello carries encrypted_client_hello: @host may be a decoy
 * @named:	the client has asked limpid itself for @host
 * @asked:	what it asked for, where something else has become the target (listener->targets);
 *		NULL: it is the target.  Owned by the flow
 * @mismatch:	and then the server for another name (SNI, Host)
 * @bind:	the client does not dial @target but waits for it to connect (SOCKS BIND)
 * @inside:	the client is the command that limpid runs, whichever address it has
 * @settled:	no learner will add anything: what is unknown now stays unknown
 *
 * Unknown is a state of its own: it satisfies no condition and no negated condition.
 */
struct facts {
	enum network network;
	enum protocol protocol;
	uint16_t listener;
	uint16_t tls_version;
	bool ech;
	bool named;
	bool mismatch;
	bool bind;
	bool inside;
	bool settled;
	struct addr client;
	struct addr target;
	char *target_name;
	char *host;
	char *learnt_name;
	char *asked;
	char *alpn;
	char *user;
	struct proxy_facts *proxy;
	struct http_facts {
		char *method;
		char *target;
		char *user_agent;
	} http;
};

const char *network_name(enum network n);   /* "tcp", "udp" */
const char *protocol_name(enum protocol p); /* "unknown", "other", "tls", "http", "dns" */

/* The target is a name, and which of its addresses it will be is not known yet. */
static inline bool facts_lack_address(const struct facts *f)
{
	return f->target_name && !f->target.family;
}

/* Release the strings and forget everything. */
void facts_done(struct facts *f);

#endif
