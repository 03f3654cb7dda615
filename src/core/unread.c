/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Whoever reads a head from a stream may have read more than the head: a
 * reply that the server's first bytes follow, a ClientHello in front of a layer that is to read
 * it.  What is too much goes into a layer that gives it back first and then takes itself out of
 * the stack, from wherever in it it stands by then; so the stack is again what it was, and a lane
 * on it may splice.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/stream.h"

struct unread {
	struct stream stream;
	struct buf bytes;
};

static void unread_free(struct unread *u)
{
	buf_done(&u->bytes);
	free(u);
}

/* Take @u out of its end's stack. */
static void unread_leave(struct unread *u)
{
	struct stream **at = &u->stream.end->top;

	while (*at != &u->stream)
		at = &(*at)->below;
	*at = u->stream.below;
	unread_free(u);
}

static ssize_t unread_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	struct unread *u = container_of(s, struct unread, stream);
	size_t n = u->bytes.len < cap_bytes ? u->bytes.len : cap_bytes;

	memcpy(dst, u->bytes.data, n);
	buf_consume(&u->bytes, n);
	if (!u->bytes.len)
		unread_leave(u);
	return (ssize_t)n;
}

static ssize_t unread_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	return stream_write(s->below, src, len_bytes);
}

static int unread_flush(struct stream *s)
{
	return stream_flush(s->below);
}

static int unread_finish(struct stream *s)
{
	return stream_finish(s->below);
}

static void unread_close(struct stream *s, bool orderly)
{
	unread_free(container_of(s, struct unread, stream));
}

static bool unread_ready(const struct stream *s)
{
	return true;
}

static const struct stream_ops unread_ops = {
	.name = "unread",
	.read = unread_read,
	.write = unread_write,
	.flush = unread_flush,
	.finish = unread_finish,
	.close = unread_close,
	.ready = unread_ready,
};

int end_unread(struct end *e, struct span bytes)
{
	struct unread *u;

	if (!bytes.len)
		return 0;
	u = NEW0(struct unread);
	if (!u)
		return -ENOMEM;
	if (buf_append(&u->bytes, bytes, bytes.len) < 0) {
		unread_free(u);
		return -ENOMEM;
	}
	u->stream.ops = &unread_ops;
	end_push(e, &u->stream);
	return 0;
}
