/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_SOCKS_H
#define CODEC_SOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/hostname.h"
#include "base/span.h"
#include "codec/codec.h"

/*
 * SOCKS: version 4 ("SOCKS: A protocol for TCP proxy across firewalls", Ying-Da Lee), 4A, and 5
 * (RFC 1928, RFC 1929).  Each message is parsed from its first byte; none is longer than a few
 * hundred bytes, so parsers keep no state.
 */

#define SOCKS4_VERSION 4
#define SOCKS5_VERSION 5
#define SOCKS_AUTH_VERSION 1 /* RFC 1929 */
#define SOCKS4_USER_MAX_BYTES 255
#define SOCKS_REPLY_MAX_BYTES 22	    /* version 5 with IPv6 */
#define SOCKS_UDP_HEADER_MAX_BYTES (4 + 1 + 255 + 2) /* RFC 1928 section 7 */

enum socks_command {
	SOCKS_CONNECT = 1,
	SOCKS_BIND = 2,
	SOCKS_UDP_ASSOCIATE = 3,
};

enum socks_method {
	SOCKS_METHOD_NONE = 0x00,
	SOCKS_METHOD_PASSWORD = 0x02,
	SOCKS_METHOD_UNACCEPTABLE = 0xff,
};

/* RFC 1928 section 6. */
enum socks_status {
	SOCKS_OK = 0,
	SOCKS_FAILED = 1,
	SOCKS_NOT_ALLOWED = 2,
	SOCKS_NETWORK_UNREACHABLE = 3,
	SOCKS_HOST_UNREACHABLE = 4,
	SOCKS_REFUSED = 5,
	SOCKS_TTL_EXPIRED = 6,
	SOCKS_BAD_COMMAND = 7,
	SOCKS_BAD_ADDRESS_TYPE = 8,
};

/* Of version 4. */
enum socks4_status {
	SOCKS4_GRANTED = 90,
	SOCKS4_REJECTED = 91,
};

/**
 * struct socks_methods - a client's first message of version 5
 * @none, @password: among what it offers
 */
struct socks_methods {
	bool none, password;
	size_t bytes;
};

/* RFC 1928 section 3.  CODEC_OTHER: the first byte is not 5.  CODEC_BAD: no method at all. */
enum codec_result socks5_methods_parse(struct span in, struct socks_methods *ret);

/**
 * struct socks_login - user and password; the spans point into the input
 */
struct socks_login {
	struct span user, password;
	size_t bytes;
};

/* RFC 1929 section 2.  CODEC_BAD: another version, or an empty user or password. */
enum codec_result socks5_login_parse(struct span in, struct socks_login *ret);

/**
 * struct socks_request - what a client wants
 * @version:	4 or 5
 * @command:	as received; may be none of enum socks_command
 * @address:	.family 0 when @name is the target; .port is always set
 * @name:	"" when @address is the target; lower case, no trailing dot
 * @user:	version 4: the user id, points into the input
 * @status:	with CODEC_BAD: what to answer (version 5)
 */
struct socks_request {
	uint8_t version;
	uint8_t command;
	struct addr address;
	char name[HOSTNAME_CAP];
	struct span user;
	enum socks_status status;
	size_t bytes;
};

/**
 * socks5_request_parse() - CONNECT, BIND or UDP ASSOCIATE
 *
 * A name that is an IP address becomes @address (RFC 1928 section 5 does not say; clients send
 * it).  CODEC_BAD: another version or reserved byte (SOCKS_FAILED), an unknown address type
 * (SOCKS_BAD_ADDRESS_TYPE), a name that can be none (SOCKS_HOST_UNREACHABLE).
 * Source: RFC 1928 sections 4 and 5.
 */
enum codec_result socks5_request_parse(struct span in, struct socks_request *ret);

/* Versions 4 and 4A (address 0.0.0.x with x != 0: a name follows the user id).  CODEC_OTHER: the
 * first byte is not 4.  CODEC_BAD: user id or name too long, or a name that can be none. */
enum codec_result socks4_request_parse(struct span in, struct socks_request *ret);

/* Return: bytes written to @out, at most SOCKS_REPLY_MAX_BYTES.  An unset @bound is written as
 * 0.0.0.0:0. */
size_t socks5_reply_write(uint8_t out[static SOCKS_REPLY_MAX_BYTES], enum socks_status status,
			  const struct addr *bound);
size_t socks4_reply_write(uint8_t out[static SOCKS_REPLY_MAX_BYTES], enum socks4_status status,
			  const struct addr *bound);

/**
 * struct socks_datagram - the header of a datagram between client and relay
 * @fragment:	0: stands alone
 */
struct socks_datagram {
	uint8_t fragment;
	struct addr address;
	char name[HOSTNAME_CAP];
	size_t bytes; /* of the header; data follow */
};

/* RFC 1928 section 7.  Never CODEC_MORE: a datagram comes whole; CODEC_BAD is not to be relayed. */
enum codec_result socks_datagram_parse(struct span in, struct socks_datagram *ret);

/* The header in front of what came from @from.  Return: its bytes. */
size_t socks_datagram_write(uint8_t out[static SOCKS_REPLY_MAX_BYTES], const struct addr *from);

/*
 * The client's part, towards an upstream proxy.
 */

/**
 * socks5_reply_parse() - the answer to a request
 * @ret_status:	as received
 * @ret_bound:	BND.ADDR and BND.PORT; .family 0 when it is a name
 */
enum codec_result socks5_reply_parse(struct span in, uint8_t *ret_status, struct addr *ret_bound,
				     size_t *ret_bytes);

/* A request for an address, or for @name and the port of @to.  Return: bytes, or -EINVAL: the
 * name is too long. */
int socks5_request_write(uint8_t out[static SOCKS_UDP_HEADER_MAX_BYTES], enum socks_command command,
			 const struct addr *to, const char *name);

#endif
