/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DNS_FRAMES_SPLIT_H
#define TESTS_UNIT_DNS_FRAMES_SPLIT_H

#include "codec/dns.h"
#include "codec/dns_frames.h"
#include "split.h"

/* What a stream was taken for: all messages, each with its length in front, and the last word. */
struct dns_frames_heard {
	struct buf messages;
	enum codec_result last;
};

/* One portion more, in memory that ends there. */
static inline void dns_frames_hear(struct dns_frames *f, struct span portion, size_t wanted_bytes,
				   struct dns_frames_heard *heard)
{
	uint8_t *copy = malloc(portion.len + 1);
	struct span in = span_of(copy, portion.len), message;

	if (portion.len)
		memcpy(copy, portion.data, portion.len);
	while ((heard->last = dns_frames_next(f, &in, wanted_bytes, &message)) == CODEC_DONE) {
		uint16_t length;

		SPLIT_REQUIRE(message.len >= DNS_HEADER_BYTES && message.len <= UINT16_MAX);
		length = (uint16_t)message.len;
		SPLIT_REQUIRE(!buf_append(&heard->messages, span_of(&length, 2), SIZE_MAX));
		SPLIT_REQUIRE(!buf_append(&heard->messages, message, SIZE_MAX));
	}
	SPLIT_REQUIRE(heard->last == CODEC_BAD || (heard->last == CODEC_MORE && !in.len));
	SPLIT_REQUIRE(f->kept.len <= wanted_bytes && f->kept.cap <= 65536);
	if (heard->last == CODEC_MORE && !f->n_length)
		SPLIT_REQUIRE(!f->kept.data); /* between two messages it owns nothing */
	free(copy);
}

/* The stream in portions of @portion_bytes, the first of @first_bytes. */
static inline struct dns_frames_heard dns_frames_hear_all(struct span in, size_t first_bytes,
							  size_t portion_bytes, size_t wanted_bytes)
{
	struct dns_frames_heard heard = { .last = CODEC_MORE };
	struct dns_frames f = { 0 };
	size_t n = first_bytes;

	do {
		dns_frames_hear(&f, span_head(in, n), wanted_bytes, &heard);
		in = span_skip(in, n);
		n = portion_bytes;
	} while (in.len && heard.last == CODEC_MORE);
	buf_done(&f.kept);
	return heard;
}

/* Whatever the portions, the same is heard. */
static inline struct dns_frames_heard dns_frames_split_check(struct span in, size_t stride,
							     size_t wanted_bytes)
{
	struct dns_frames_heard whole = dns_frames_hear_all(in, in.len, in.len, wanted_bytes);

	for (size_t n = 0; n <= in.len + stride; n += stride) {
		size_t portion = n ? in.len : 1; /* at first byte by byte */
		struct dns_frames_heard h = dns_frames_hear_all(in, n, portion, wanted_bytes);

		SPLIT_REQUIRE(h.last == whole.last);
		SPLIT_REQUIRE(span_eq(buf_span(&h.messages), buf_span(&whole.messages)));
		buf_done(&h.messages);
	}
	return whole;
}

#endif
