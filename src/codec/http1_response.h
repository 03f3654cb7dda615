/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_HTTP1_RESPONSE_H
#define CODEC_HTTP1_RESPONSE_H

#include "codec/http1.h"

/**
 * struct http1_response - the head of an answer; spans point into the input
 * @head_bytes:	length up to and including the empty line
 */
struct http1_response {
	unsigned int status; /* 100 to 599 */
	uint8_t minor;
	struct span reason;
	size_t head_bytes;
	size_t n_fields;
	struct http1_field fields[HTTP1_MAX_FIELDS];
};

/**
 * http1_response_parse() - read the head of an HTTP/1.0 or 1.1 answer
 * @scanned:	0 before the first call for a message, then the parser's own
 * @in:		all bytes of the message so far
 *
 * As strict as http1_request_parse(): CRLF and nothing else, no folded lines.
 * CODEC_OTHER: it is no HTTP/1 from the first bytes on (HTTP/0.9 is not either).
 * Source: RFC 9112 sections 4 and 5.
 */
enum codec_result http1_response_parse(size_t *scanned, struct span in, size_t head_max_bytes,
				       struct http1_response *ret);

#endif
