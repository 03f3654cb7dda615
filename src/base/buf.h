/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/**
 * struct buf - owned bytes that grow
 * @data:	first byte; NULL while nothing is allocated
 * @len:	bytes in use
 * @cap:	bytes allocated
 *
 * Zero is a valid initial value and owns nothing.
 */
struct buf {
	uint8_t *data;
	size_t len, cap;
};

/**
 * buf_append() - add a copy of @s behind what is there
 * @limit_bytes: most the buffer may hold afterwards
 *
 * @s may lie within @b.
 *
 * Return: 0, -EMSGSIZE (over the limit), -ENOMEM; @b is unchanged on failure.
 */
int buf_append(struct buf *b, struct span s, size_t limit_bytes);

/* Drop the first @n bytes (all, when there are fewer); memory is given back at none left. */
void buf_consume(struct buf *b, size_t n);

/* Give the memory back; @b is then as new. */
void buf_done(struct buf *b);

static inline struct span buf_span(const struct buf *b)
{
	return span_of(b->data, b->len);
}

#endif
