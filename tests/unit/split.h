/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SPLIT_H
#define TESTS_UNIT_SPLIT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"
#include "codec/codec.h"

/*
 * The promise of every resumable parser, checked for one input: the answer does not depend on
 * the portions in which the bytes came.  Used by unit tests and by
 * fuzz targets; a broken promise aborts.
 */
struct split {
	enum codec_result (*parse)(void *scan, struct span in, void *ret);
	bool (*same)(const void *a, const void *b);
	size_t scan_bytes, ret_bytes;
};

#define SPLIT_REQUIRE(cond)                                                                        \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #cond);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* One byte more at each call; the state is kept. */
static inline void split_bytewise(const struct split *s, struct span in, enum codec_result whole,
				  const void *expect)
{
	void *scan = calloc(1, s->scan_bytes), *ret = calloc(1, s->ret_bytes);
	enum codec_result r = CODEC_MORE;

	for (size_t n = 0; n <= in.len && r == CODEC_MORE; n++)
		r = s->parse(scan, span_head(in, n), ret);
	SPLIT_REQUIRE(r == whole);
	SPLIT_REQUIRE(r != CODEC_DONE || s->same(ret, expect));
	free(scan);
	free(ret);
}

/* First @n bytes, in memory that ends there, then all. */
static inline void split_at(const struct split *s, struct span in, size_t n,
			    enum codec_result whole, const void *expect)
{
	void *scan = calloc(1, s->scan_bytes), *ret = calloc(1, s->ret_bytes);
	uint8_t *head = malloc(n ? n : 1);
	enum codec_result r;

	if (n)
		memcpy(head, in.data, n);
	r = s->parse(scan, span_of(head, n), ret);
	SPLIT_REQUIRE(r == CODEC_MORE || r == whole);
	SPLIT_REQUIRE(r != CODEC_DONE || s->same(ret, expect));
	if (r == CODEC_MORE) {
		r = s->parse(scan, in, ret);
		SPLIT_REQUIRE(r == whole);
		SPLIT_REQUIRE(r != CODEC_DONE || s->same(ret, expect));
	}
	free(head);
	free(scan);
	free(ret);
}

/* The answer for all of @in, the result in @ret; every @stride-th split agrees with it. */
static inline enum codec_result split_check(const struct split *s, struct span in, size_t stride,
					    void *ret)
{
	void *scan = calloc(1, s->scan_bytes);
	enum codec_result whole = s->parse(scan, in, ret);

	split_bytewise(s, in, whole, ret);
	for (size_t n = 0; n <= in.len; n += stride)
		split_at(s, in, n, whole, ret);
	split_at(s, in, in.len, whole, ret);
	free(scan);
	return whole;
}

#endif
