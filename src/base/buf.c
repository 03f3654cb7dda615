/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define BUF_MIN_BYTES 512

int buf_append(struct buf *b, struct span s, size_t limit_bytes)
{
	size_t cap = b->cap ? b->cap : BUF_MIN_BYTES;
	uint8_t *data;

	if (!s.len)
		return 0;
	if (b->len > limit_bytes || s.len > limit_bytes - b->len)
		return -EMSGSIZE;
	while (cap - b->len < s.len && cap <= SIZE_MAX / 2)
		cap *= 2;
	if (cap - b->len < s.len)
		return -ENOMEM;
	if (cap == b->cap) {
		memcpy(b->data + b->len, s.data, s.len);
		b->len += s.len;
		return 0;
	}
	/* Not realloc(): @s may lie in the old memory. */
	data = malloc(cap);
	if (!data)
		return -ENOMEM;
	if (b->len)
		memcpy(data, b->data, b->len);
	memcpy(data + b->len, s.data, s.len);
	free(b->data);
	b->data = data;
	b->cap = cap;
	b->len += s.len;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		buf_done(b);
		return;
	}
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}
