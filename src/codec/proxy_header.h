/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_PROXY_HEADER_H
#define CODEC_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "codec/codec.h"

/*
 * "The PROXY protocol", versions 1 and 2 (HAProxy, proxy-protocol.txt, 2020/03/05),
 * sections 2.1 and 2.2.
 */

#define PROXY_V1_MAX_BYTES 107
#define PROXY_V2_FIXED_BYTES 16
/* So much of a header is nothing else. */
#define PROXY_HEADER_SURE_BYTES 6
#define PROXY_UNIQUE_ID_MAX_BYTES 128
#define PROXY_AUTHORITY_MAX_BYTES 255
/* Room for proxy_header_write(): IPv6, and the longest name. */
#define PROXY_HEADER_WRITE_CAP 384

/**
 * struct proxy_header - who connected to whom, as the sender says
 * @version:	1 or 2
 * @local:	version 2, LOCAL: the sender speaks for itself; there are no addresses
 * @datagram:	the addresses are of UDP
 * @source, @destination: .family 0: not known (LOCAL, UNKNOWN, AF_UNSPEC, AF_UNIX)
 * @alpn, @authority, @unique_id, @netns: TLVs; empty when absent; point into the input
 * @ssl:	there is an SSL TLV
 * @ssl_client:	its flags: 1 TLS, 2 certificate on this connection, 4 in this session
 * @ssl_verified: its "verify" is 0 and a certificate was presented
 * @ssl_version, @ssl_cn, @ssl_cipher: of the SSL TLV; empty when absent
 * @bytes:	of the whole header
 */
struct proxy_header {
	uint8_t version;
	bool local, datagram;
	bool ssl, ssl_verified;
	uint8_t ssl_client;
	struct addr source, destination;
	struct span alpn, authority, unique_id, netns;
	struct span ssl_version, ssl_cn, ssl_cipher;
	size_t bytes;
};

/**
 * proxy_header_parse() - a header of either version
 * @in:	bytes of the stream from its start, or one datagram
 *
 * CODEC_OTHER: not the PROXY protocol.  CODEC_BAD: numbers not as written by the specification
 * (leading zeros, ports over 65535, addresses of fewer than four parts), a line over 107 bytes, an
 * unknown version, command, family or transport, lengths that do not add up, a CRC32C that is
 * wrong.  Unknown TLVs are skipped, and so is all that LOCAL says.
 */
enum codec_result proxy_header_parse(struct span in, struct proxy_header *ret);

/**
 * proxy_header_write() - a header to send
 * @version:	1 or 2
 * @source:	.family 0: UNKNOWN or LOCAL is written.  Of two families, the IPv4 address is mapped
 * @datagram:	version 2 only
 * @authority:	version 2: the name that the client has asked for; empty: none, or it is too long
 *
 * Return: bytes written.
 */
size_t proxy_header_write(uint8_t out[static PROXY_HEADER_WRITE_CAP], uint8_t version,
			  const struct addr *source, const struct addr *destination, bool datagram,
			  struct span authority);

#endif
