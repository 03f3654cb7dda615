/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_HTTP1_FIELDS_H
#define CODEC_HTTP1_FIELDS_H

#include "codec/http1.h"

/* Fields that a proxy has to know. */
enum http1_name {
	HTTP1_OTHER,
	HTTP1_AUTHORIZATION,
	HTTP1_CONNECTION,
	HTTP1_CONTENT_LENGTH,
	HTTP1_CONTENT_TYPE,
	HTTP1_DATE,
	HTTP1_EXPECT,
	HTTP1_HOST,
	HTTP1_KEEP_ALIVE,
	HTTP1_MAX_FORWARDS,
	HTTP1_PROXY_AUTHENTICATE,
	HTTP1_PROXY_AUTHENTICATION_INFO,
	HTTP1_PROXY_AUTHORIZATION,
	HTTP1_PROXY_CONNECTION,
	HTTP1_TE,
	HTTP1_TRANSFER_ENCODING,
	HTTP1_UPGRADE,
	HTTP1_NAMES,
};

/**
 * struct http1_summary - what the fields of a message say to a proxy
 * @names:	which field each is
 * @first:	value of the first of this name; .data NULL: none
 * @n:		how many there are of this name
 * @close, @keep_alive, @upgrade: these words stand in Connection
 * @options:	others do, too: http1_is_option() knows them
 */
struct http1_summary {
	uint8_t names[HTTP1_MAX_FIELDS];
	struct span first[HTTP1_NAMES];
	uint8_t n[HTTP1_NAMES];
	bool close, keep_alive, upgrade, options;
};

/**
 * http1_summary_read() - look at all fields once
 *
 * Return: 0, or -EINVAL: Connection names a field without which the message would be another
 * (RFC 9110 section 7.6.1): Content-Length, Transfer-Encoding, Host, and the like.
 */
int http1_summary_read(const struct http1_field *fields, size_t n, struct http1_summary *ret);

/**
 * http1_goes_on() - is the @i-th field for the next one, too?
 *
 * False for those between two neighbours (RFC 9110 section 7.6.1), for what the proxy writes
 * itself (Host, Content-Length, Max-Forwards, Expect), and for what Connection names.
 */
bool http1_goes_on(const struct http1_summary *s, const struct http1_field *fields, size_t n,
		   size_t i);

/**
 * http1_fields_parse() - lines of "name: value CRLF"
 * @spaced:	space before the colon is dropped, no error: in answers (RFC 9112 section 5.1)
 *
 * Return: how many, or -EINVAL (malformed, or more than @max).
 */
int http1_fields_parse(struct span lines, bool spaced, struct http1_field *fields, size_t max);

/* Compare with @text, which is lower case. */
bool http1_word_is(struct span s, const char *text);

/* The same but for upper and lower case. */
bool http1_same(struct span a, struct span b);

bool http1_is_token(struct span s); /* and not empty */

/* The next element of a comma separated list, trimmed; false: none is left. */
bool http1_list_next(struct span *list, struct span *ret);

#endif
