/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * struct span - borrowed bytes
 * @data:	first byte; may be NULL when @len is 0
 * @len:	bytes
 *
 * Whoever holds a span does not own what it points to and says in its own contract
 * how long it stays valid.
 */
struct span {
	const uint8_t *data;
	size_t len;
};

static inline struct span span_of(const void *data, size_t len_bytes)
{
	return (struct span){ .data = data, .len = len_bytes };
}

static inline struct span span_str(const char *s)
{
	return span_of(s, strlen(s));
}

/* The bytes behind the first @n; empty when there are fewer. */
static inline struct span span_skip(struct span s, size_t n)
{
	if (n > s.len)
		n = s.len;
	return span_of(s.len ? s.data + n : s.data, s.len - n);
}

/* At most the first @n bytes. */
static inline struct span span_head(struct span s, size_t n)
{
	return span_of(s.data, n < s.len ? n : s.len);
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

static inline bool span_eq_str(struct span a, const char *s)
{
	return span_eq(a, span_str(s));
}

#endif
