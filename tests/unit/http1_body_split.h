/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_HTTP1_BODY_SPLIT_H
#define TESTS_UNIT_HTTP1_BODY_SPLIT_H

#include "codec/http1_body.h"
#include "codec/http1_response.h"
#include "split.h"

/* Chunked content: what has come of it so far. */
struct body_split_ret {
	uint8_t content[4096], trailers[4096];
	size_t n_content, n_trailers, used;
};

struct body_split_scan {
	struct http1_body body;
	struct body_split_ret got;
	enum codec_result result;
};

static inline enum codec_result body_split_parse(void *scan, struct span in, void *ret)
{
	struct body_split_scan *s = scan;
	uint8_t bytes[4096];
	size_t used, content;
	struct span trailers;

	s->body.framing = HTTP1_CHUNKED;
	in = span_skip(span_head(in, sizeof(bytes)), s->got.used);
	if (in.len && s->result == CODEC_MORE) {
		memcpy(bytes, in.data, in.len);
		s->result = http1_body_read(&s->body, bytes, in.len, &used, &content, &trailers);
		if (s->result != CODEC_BAD) {
			memcpy(s->got.content + s->got.n_content, bytes, content);
			memcpy(s->got.trailers + s->got.n_trailers, trailers.data, trailers.len);
			s->got.n_content += content;
			s->got.n_trailers += trailers.len;
			s->got.used += used;
		}
	}
	*(struct body_split_ret *)ret = s->got;
	return s->result;
}

static inline bool body_split_same(const void *a, const void *b)
{
	const struct body_split_ret *x = a, *y = b;

	return x->used == y->used &&
	       span_eq(span_of(x->content, x->n_content), span_of(y->content, y->n_content)) &&
	       span_eq(span_of(x->trailers, x->n_trailers), span_of(y->trailers, y->n_trailers));
}

static const struct split body_split = {
	.parse = body_split_parse,
	.same = body_split_same,
	.scan_bytes = sizeof(struct body_split_scan),
	.ret_bytes = sizeof(struct body_split_ret),
};

/* Heads of answers. */
static inline enum codec_result response_split_parse(void *scan, struct span in, void *ret)
{
	return http1_response_parse(scan, in, 4096, ret);
}

static inline bool response_split_same(const void *a, const void *b)
{
	const struct http1_response *x = a, *y = b;

	return x->status == y->status && x->minor == y->minor && span_eq(x->reason, y->reason) &&
	       x->head_bytes == y->head_bytes && x->n_fields == y->n_fields;
}

static const struct split response_split = {
	.parse = response_split_parse,
	.same = response_split_same,
	.scan_bytes = sizeof(size_t),
	.ret_bytes = sizeof(struct http1_response),
};

#endif
