/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/span.h"
#include "loop/loop.h"

struct flow;
struct pipe;
struct stream;

/**
 * struct stream_ops - one kind of layer
 * @read:	bytes into @dst; 0: the other side has ended; -EAGAIN; or another -errno, after
 *		which the stream is dead (-ECONNRESET: it was reset, or cut off before its end;
 *		-EPROTO: what came is against the layer's protocol)
 * @write:	bytes taken, possibly fewer than offered; -EAGAIN: none; or another -errno
 * @flush:	send what @write took but holds; 0, -EAGAIN, -errno.  NULL: holds nothing
 * @finish:	no more will be written: FIN, close_notify.  0, -EAGAIN or -errno
 * @close:	release everything; @orderly false: say so to the other side (RST) if anything can
 *		be missing
 * @ready:	can @read return something without the socket becoming readable?  NULL: never
 * @pull:	socket to pipe without passing user space, as pipe_pull(); NULL: cannot
 * @push:	pipe to socket, as pipe_push(); NULL: cannot
 */
struct stream_ops {
	const char *name;
	ssize_t (*read)(struct stream *s, uint8_t *dst, size_t cap_bytes);
	ssize_t (*write)(struct stream *s, const uint8_t *src, size_t len_bytes);
	int (*flush)(struct stream *s);
	int (*finish)(struct stream *s);
	void (*close)(struct stream *s, bool orderly);
	bool (*ready)(const struct stream *s);
	ssize_t (*pull)(struct stream *s, struct pipe *p, size_t max_bytes);
	ssize_t (*push)(struct stream *s, struct pipe *p);
};

/**
 * struct stream - one layer of an end, embedded in the layer's own state
 * @below:	the layer it reads from and writes to; NULL for the socket
 */
struct stream {
	const struct stream_ops *ops;
	struct stream *below;
	struct end *end;
};

/* A socket dialled with SOCK_SPEAK_FIRST; stream/tcp.c says what follows from it. */
enum end_opening {
	END_OPENED,
	END_SPEAKS_FIRST, /* nothing has been written */
	END_HAS_SPOKEN,	  /* once */
};

/**
 * struct end - the client's or the server's side of a flow: a stack of streams on a socket
 * @watch:	the loop's interest in @fd
 * @fd:		-1: not there (yet, or any more)
 * @socket:	the lowest layer; its state is this struct
 * @top:	what lanes read from and write to
 * @readable:	a read may yield something; cleared by the socket's own EAGAIN only
 * @writable:	a write may take something; cleared by the socket's own EAGAIN only
 * @hup:	FIN or RST has been seen: reading must go on to the end
 * @urgent:	TCP urgent data has come: reads stop at its mark without being at the end, and
 *		splicing cannot cross it
 * @failed:	an error has been seen: a read of 0 is not an orderly end
 * @opening:	what the socket's options still wait for
 *
 * The bits are sticky because edges come once; any event pumps both lanes of the flow.
 */
struct end {
	struct watch watch;
	struct flow *flow;
	int fd;
	bool readable, writable, hup, failed, urgent;
	enum end_opening opening;
	struct stream socket;
	struct stream *top;
};

/* An end without a socket, over the lowest layer @ops. */
void end_init(struct end *e, struct flow *flow, const struct stream_ops *ops);

/* Put @s, whose ops are set, on top. */
void end_push(struct end *e, struct stream *s);

/**
 * end_unread() - give @bytes, which were read from the top, back: they are read again first
 *
 * By whatever is the top when they are read, also if a layer has been pushed meanwhile.
 * Return: 0 or -ENOMEM.
 */
int end_unread(struct end *e, struct span bytes);

/* Close and release all layers, from the top; the socket's goes last.  Idempotent. */
void end_close(struct end *e, bool orderly);

/* All of @from, without its watch, becomes @to's; @from is left without a socket. */
void end_move(struct end *to, struct end *from);

/* Take note of what the loop saw (READY_*). */
void end_note(struct end *e, uint32_t ready);

static inline bool end_is_open(const struct end *e)
{
	return e->fd >= 0;
}

static inline bool end_can_read(const struct end *e)
{
	return e->readable || (e->top->ops->ready && e->top->ops->ready(e->top));
}

/**
 * stream_read(), stream_write(), stream_flush(), stream_finish() - see struct stream_ops
 */
static inline ssize_t stream_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	return s->ops->read(s, dst, cap_bytes);
}

static inline ssize_t stream_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	return s->ops->write(s, src, len_bytes);
}

static inline int stream_flush(struct stream *s)
{
	return s->ops->flush ? s->ops->flush(s) : 0;
}

static inline int stream_finish(struct stream *s)
{
	return s->ops->finish(s);
}

#endif
