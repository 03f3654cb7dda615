/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The sticky bits of the end are cleared here and nowhere else: by
 * EAGAIN, and by a read that yields less than was asked for, after which the next byte brings a
 * new edge (unless FIN or RST has been seen: then there is no other edge to come, and the read
 * that says so must still happen).
 *
 * The same holds for urgent data: a read stops at its mark.  It goes on as ordinary bytes.
 *
 * After an error the kernel reports it once and then reads 0 like a clean end; `failed` keeps
 * that from being taken for one.
 *
 * Where the first bytes complete the handshake, the kernel takes them for an answer to the
 * SYN-ACK, and from then on its ACKs wait for bytes to ride on: a server that writes twice and
 * has Nagle's algorithm would send its second piece 40 ms late.  So that ends with the first
 * write.  The other way round, nothing of ours can wait behind a first write, and TCP_NODELAY is
 * set before the second: many connections never see one.
 */
#include <errno.h>

#include "stream/tcp.h"
#include "sys/pipe.h"
#include "sys/sock.h"

static ssize_t tcp_end(struct end *e)
{
	int r;

	if (!e->failed)
		return 0;
	r = sock_take_error(e->fd);
	return r == -ETIMEDOUT || r == -EHOSTUNREACH || r == -ENETUNREACH ? r : -ECONNRESET;
}

static ssize_t tcp_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	struct end *e = s->end;
	ssize_t n;

	if (e->urgent)
		sock_inline_urgent(e->fd);
	n = sock_recv(e->fd, dst, cap_bytes);
	if (n == 0)
		return tcp_end(e);
	if (n == -EAGAIN || (n > 0 && (size_t)n < cap_bytes && !e->hup && !e->urgent))
		e->readable = false;
	else if (n < 0)
		e->failed = true;
	return n;
}

static void no_delay(struct end *e)
{
	if (e->opening != END_OPENED)
		sock_no_delay(e->fd);
	e->opening = END_OPENED;
}

static ssize_t tcp_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	struct end *e = s->end;
	ssize_t n;

	if (e->opening == END_HAS_SPOKEN)
		no_delay(e);
	n = sock_send(e->fd, src, len_bytes);
	if (n > 0 && e->opening == END_SPEAKS_FIRST) {
		sock_ack_at_once(e->fd);
		e->opening = END_HAS_SPOKEN;
	}
	if (n == -EAGAIN || (n >= 0 && (size_t)n < len_bytes))
		e->writable = false;
	else if (n < 0)
		e->failed = e->hup = e->readable = true;
	return n;
}

static int tcp_finish(struct stream *s)
{
	return sock_finish(s->end->fd);
}

static void tcp_close(struct stream *s, bool orderly)
{
	struct end *e = s->end;

	if (e->fd < 0)
		return;
	if (orderly)
		sock_close_orderly(e->fd);
	else
		sock_close_reset(e->fd);
	e->fd = -1;
}

static ssize_t tcp_pull(struct stream *s, struct pipe *p, size_t max_bytes)
{
	struct end *e = s->end;
	bool was_empty = !p->len_bytes;
	ssize_t n = pipe_pull(p, e->fd, max_bytes);

	if (n == 0)
		return tcp_end(e);
	if (n == -EAGAIN && was_empty)
		e->readable = false;
	else if (n < 0 && n != -EAGAIN)
		e->failed = true;
	return n;
}

static ssize_t tcp_push(struct stream *s, struct pipe *p)
{
	struct end *e = s->end;
	ssize_t n;

	no_delay(e);
	n = pipe_push(p, e->fd);
	if (n == -EAGAIN)
		e->writable = false;
	else if (n < 0)
		e->failed = e->hup = e->readable = true;
	return n;
}

const struct stream_ops tcp_stream_ops = {
	.name = "tcp",
	.read = tcp_read,
	.write = tcp_write,
	.finish = tcp_finish,
	.close = tcp_close,
	.pull = tcp_pull,
	.push = tcp_push,
};
