/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_TLS_HELLO_H
#define CODEC_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "codec/codec.h"

/* Longest handshake message read, its 4 bytes of header included. */
#define TLS_HELLO_MAX_BYTES 65536
#define TLS_HELLO_ALPN_CAP 256

/**
 * struct tls_hello_scan - how far the walk over the records has come
 *
 * Zero before the first call, then the parser's own.
 */
struct tls_hello_scan {
	size_t at;	    /* next byte of the input to look at */
	size_t record_left; /* bytes of the current record's payload from @at on */
	size_t have;	    /* bytes of the handshake message before @at */
	size_t total;	    /* length of the handshake message; 0 while unknown */
	uint32_t records;
	uint8_t head[4]; /* first bytes of the handshake message */
};

/**
 * struct tls_hello - what a ClientHello says
 * @sni:	host_name, lower case, without a trailing dot; "" when absent or an IP address
 * @alpn:	protocols offered, comma separated, in the client's order; all but printable
 *		ASCII, and comma and backslash, as \xHH; cut at a whole name; "" when absent
 * @version:	highest version offered (0x0304 is TLS 1.3); unknown ones and GREASE ignored
 * @legacy_version: as in the ClientHello
 * @ech:	encrypted_client_hello is there (perhaps as GREASE): @sni may be a decoy
 * @wire_bytes:	length in the stream, record headers included
 * @message_bytes: length of the handshake message, its header included
 * @records:	records it came in
 * @n_ciphers:	cipher suites offered
 * @n_extensions: extensions
 */
struct tls_hello {
	char sni[256];
	char alpn[TLS_HELLO_ALPN_CAP];
	uint16_t version;
	uint16_t legacy_version;
	bool ech;
	size_t wire_bytes;
	size_t message_bytes;
	uint32_t records;
	uint16_t n_ciphers;
	uint16_t n_extensions;
};

/**
 * tls_hello_parse() - read a ClientHello from the start of a stream
 * @scan:	state between calls for the same stream
 * @in:		all bytes of the stream so far; at each call those of the last one and more
 * @ret:	filled on CODEC_DONE
 *
 * Any number of records of 1..2^14 bytes each.  CODEC_OTHER as soon as a byte is not that of a
 * handshake record with a ClientHello in front.  CODEC_BAD: a length that does not fit, bytes
 * left over, an extension twice, a name that is none, a message over TLS_HELLO_MAX_BYTES; also
 * when there is no memory to join a fragmented message.  Many tiny records make the input up
 * to six times as long as the message: the caller limits @in.
 *
 * Source: RFC 8446 sections 4.1.2, 4.2, 4.2.1 and 5.1, RFC 6066 section 3 (server_name),
 * RFC 7301 section 3.1 (ALPN), RFC 8701 (GREASE), RFC 9849 (encrypted_client_hello).
 */
enum codec_result tls_hello_parse(struct tls_hello_scan *scan, struct span in,
				  struct tls_hello *ret);

#endif
