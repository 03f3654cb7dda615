/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_HTTP1_BODY_H
#define CODEC_HTTP1_BODY_H

#include "codec/http1_fields.h"

/* How a message says where its content ends (RFC 9112 section 6.3). */
enum http1_framing {
	HTTP1_NO_BODY,
	HTTP1_LENGTH,
	HTTP1_CHUNKED,
	HTTP1_TO_THE_END, /* of the connection */
};

/**
 * struct http1_body - content being read
 * @left:	bytes of the content, or of the chunk, that are still to come
 * @line_bytes:	of the chunk's line, or of the trailer section, so far
 * @step:	of the chunked coding: the decoder's own
 */
struct http1_body {
	enum http1_framing framing;
	uint64_t left;
	uint32_t line_bytes;
	uint8_t step, digits;
};

#define HTTP1_TRAILERS_MAX_BYTES 8192

/**
 * http1_request_body(), http1_response_body() - which framing a message has
 * @no_content:	an answer to HEAD
 *
 * Whatever two recipients could read as two lengths is refused: both Transfer-Encoding and
 * Content-Length, more than one of either, a length that is no number of 18 digits at most,
 * Transfer-Encoding in HTTP/1.0.
 *
 * Return: 0, -EINVAL, or -EOPNOTSUPP (a transfer coding other than chunked).
 */
int http1_request_body(const struct http1_summary *s, uint8_t minor, struct http1_body *ret);
int http1_response_body(const struct http1_summary *s, uint8_t minor, unsigned int status,
			bool no_content, struct http1_body *ret);

/**
 * http1_body_read() - take the framing off, in place
 * @bytes:	input; what is content is moved together at its beginning
 * @ret_used:	how much of the input belongs to the message
 * @ret_content: bytes of content, from @bytes on
 * @ret_trailers: bytes of the trailer section, with the empty line that ends it
 *
 * Return: CODEC_MORE, CODEC_DONE (the message has ended), CODEC_BAD.
 */
enum codec_result http1_body_read(struct http1_body *b, uint8_t *bytes, size_t len,
				  size_t *ret_used, size_t *ret_content, struct span *ret_trailers);

/* Has it ended, without another byte?  True for no body, and for a length of 0. */
static inline bool http1_body_is_empty(const struct http1_body *b)
{
	return b->framing == HTTP1_NO_BODY || (b->framing == HTTP1_LENGTH && !b->left);
}

/* The line before a chunk of @len bytes.  Return: its length. */
#define HTTP1_CHUNK_LINE_CAP 20
size_t http1_chunk_line(uint64_t len, char dst[static HTTP1_CHUNK_LINE_CAP]);

#endif
