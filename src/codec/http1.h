/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_HTTP1_H
#define CODEC_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "codec/codec.h"

#define HTTP1_METHOD_MAX_BYTES 32
#define HTTP1_MAX_FIELDS 128

/**
 * struct http1_scan - how far the walk over the head has come
 * @h2:	after CODEC_OTHER: the bytes are the preface of HTTP/2 (RFC 9113 section 3.4)
 * @other_major: after CODEC_BAD: the request is one of HTTP/0, 2, 3...
 *
 * Zero before the first call, then the parser's own except for @h2, @other_major and @n_fields.
 */
struct http1_scan {
	size_t at;	 /* next byte of the input to look at */
	size_t word_at;	 /* first byte of the method, then of the version, then of the field */
	size_t start_at; /* first byte of the request line */
	uint16_t n_fields;
	uint8_t n_empty; /* empty lines before the request line */
	uint8_t step;
	bool h2;
	bool other_major;
};

/* One field line, without the white space around the value. */
struct http1_field {
	struct span name;
	struct span value;
};

/* What stands in the request line (RFC 9112 section 3.2). */
enum http1_form {
	HTTP1_FORM_ORIGIN,    /* /path?query */
	HTTP1_FORM_ABSOLUTE,  /* scheme://host:port/path */
	HTTP1_FORM_AUTHORITY, /* host:port, CONNECT only */
	HTTP1_FORM_ASTERISK,  /* *, OPTIONS only */
};

/**
 * struct http1_request - the head of a request
 * @method, @target: as received
 * @form:	form of @target
 * @minor:	HTTP/1.@minor: 0, or 1 for this and all above (RFC 9110 section 2.5)
 * @host:	of the target in absolute and authority form, else of the Host field: lower
 *		case, no port, no trailing dot; IPv6 without its brackets; "" when absent or empty
 * @host_is_ip:	@host is an IP address
 * @port:	that stood with @host, 0 if none
 * @host_missing: HTTP/1.1 without a Host field, which a server has to refuse
 * @user_agent:	value of the first User-Agent field, empty if none
 * @head_bytes:	length up to and including the empty line, leading empty lines too
 *
 * Spans point into the input.
 */
struct http1_request {
	struct span method;
	struct span target;
	enum http1_form form;
	uint8_t minor;
	bool host_is_ip;
	bool host_missing;
	uint16_t port;
	char host[256];
	struct span user_agent;
	size_t head_bytes;
	size_t n_fields;
	struct http1_field fields[HTTP1_MAX_FIELDS];
};

/**
 * http1_request_parse() - read the head of an HTTP/1.0 or 1.1 request
 * @scan:	state between calls for the same stream
 * @in:		all bytes of the stream so far; at each call those of the last one and more
 * @head_max_bytes: most that the head may have
 * @ret:	filled on CODEC_DONE
 *
 * It is HTTP from "method SP target SP HTTP/" on: before that a byte out of place is
 * CODEC_OTHER, after that CODEC_BAD.  Strict about everything in which two parsers could come
 * to see two different requests: line ends are CRLF and nothing else, no folded lines, no
 * space before the colon, no control character in a value, one Host field at most, and that a
 * valid one.  Lenient about the characters of a target: every byte over the space but DEL.
 *
 * Source: RFC 9112 sections 2.2, 2.3, 3 and 5, RFC 9110 sections 4.2, 5.5, 5.6.2 and 7.2.
 */
enum codec_result http1_request_parse(struct http1_scan *scan, struct span in,
				      size_t head_max_bytes, struct http1_request *ret);

/**
 * http1_authority_parse() - "host", "host:port", "[v6]:port"
 * @host:	room for 256; as in struct http1_request
 *
 * Return: 0, or -EINVAL; an empty @s gives an empty host.
 */
int http1_authority_parse(struct span s, char host[static 256], bool *ret_is_ip,
			  uint16_t *ret_port);

/* Compare the name of a field with @name, which is lower case. */
bool http1_field_is(const struct http1_field *f, const char *name);

/* Has it a field of that name? */
bool http1_request_has(const struct http1_request *q, const char *name);

#endif
