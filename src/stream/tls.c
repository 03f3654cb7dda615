/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  OpenSSL reads and writes through a BIO whose other side is the layer
 * below, never the descriptor: so it works over a socket, over bytes that were given back, over
 * another TLS.  The BIO only does what the sticky bits of the end allow.
 *
 * Whoever reads may need to write first, and the reverse (a handshake, a key update).  OpenSSL
 * says which; both look to the caller like EAGAIN, and ready() makes it call again:
 *
 *	starved		the last read wanted bytes and none have come since: what OpenSSL still
 *			holds is part of a record, and reading again now would be in vain
 *	wants_write	the last read wanted to write: worth another try once the end is writable
 *
 * A write that could not be finished has taken its record's bytes into OpenSSL without saying
 * so; it wants the same bytes again, and lanes do that.
 *
 * The end is said by close_notify, then by the layer below.  If close_notify finds no room,
 * flush() sends it later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/hostname.h"
#include "base/mem.h"
#include "stream/tls.h"
#include "stream/tls_openssl.h"

/**
 * struct tls - one layer
 * @error:	-errno for which the stream is dead
 * @below_error: the same of the layer below
 * @cut:	the layer below has ended
 * @ended:	close_notify has come, and was told
 * @finish_due:	the end is to be said
 */
struct tls {
	struct stream stream;
	struct tls_context *context;
	SSL *ssl;
	int error, below_error;
	const char *failure;
	bool starved, wants_write, cut, ended, finish_due;
};

static struct tls *tls_of(const struct stream *s)
{
	return container_of(s, struct tls, stream);
}

/* ---- the BIO ---- */

static bool can_read_below(const struct stream *below)
{
	return below->end->readable || (below->ops->ready && below->ops->ready(below));
}

static int bio_read(BIO *b, char *dst, int cap)
{
	struct tls *t = BIO_get_data(b);
	struct stream *below = t->stream.below;
	ssize_t n = -EAGAIN;

	BIO_clear_retry_flags(b);
	if (can_read_below(below))
		n = stream_read(below, (uint8_t *)dst, (size_t)cap);
	if (n > 0) {
		t->starved = false;
		return (int)n;
	}
	if (n == -EAGAIN)
		BIO_set_retry_read(b);
	else if (n < 0)
		t->below_error = (int)n;
	else
		t->cut = true;
	return n ? -1 : 0;
}

static int bio_write(BIO *b, const char *src, int len)
{
	struct tls *t = BIO_get_data(b);
	ssize_t n = -EAGAIN;

	BIO_clear_retry_flags(b);
	if (t->stream.end->writable)
		n = stream_write(t->stream.below, (const uint8_t *)src, (size_t)len);
	if (n >= 0)
		return (int)n;
	if (n == -EAGAIN)
		BIO_set_retry_write(b);
	else
		t->below_error = (int)n;
	return -1;
}

static long bio_ctrl(BIO *b, int command, long n, void *p)
{
	struct tls *t = BIO_get_data(b);

	if (command == BIO_CTRL_EOF)
		return t->cut;
	return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_new(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

	if (!m)
		return NULL;
	BIO_meth_set_read(m, bio_read);
	BIO_meth_set_write(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	return m;
}

/* ---- the stream ---- */

/* What an operation that did not succeed means: 0, the end; -EAGAIN; another -errno, for good. */
static int trouble(struct tls *t, int result)
{
	switch (SSL_get_error(t->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		t->starved = true;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		break;
	}
	t->failure = ERR_reason_error_string(ERR_peek_error());
	t->error = t->below_error ? t->below_error : t->cut ? -ECONNRESET : -EPROTO;
	ERR_clear_error();
	return t->error;
}

static ssize_t tls_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	struct tls *t = tls_of(s);
	size_t done = 0, n;
	int r = 1;

	if (t->error)
		return t->error;
	ERR_clear_error();
	while (done < cap_bytes) {
		r = SSL_read_ex(t->ssl, dst + done, cap_bytes - done, &n);
		if (r <= 0)
			break;
		done += n;
	}
	if (r <= 0)
		r = trouble(t, r);
	t->wants_write = SSL_want_write(t->ssl);
	if (done)
		return (ssize_t)done; /* what else there was to say is said next time */
	if (!r) /* as with a socket, whoever reads next meets the end, too */
		t->ended = s->end->readable = true;
	return r;
}

static ssize_t tls_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	struct tls *t = tls_of(s);
	size_t done = 0, n;
	int r = 1;

	if (t->error)
		return t->error;
	ERR_clear_error();
	while (done < len_bytes) {
		r = SSL_write_ex(t->ssl, src + done, len_bytes - done, &n);
		if (r <= 0)
			break;
		done += n;
	}
	if (done)
		return (ssize_t)done;
	r = trouble(t, r);
	return r ? r : -EPIPE;
}

static int tls_flush(struct stream *s)
{
	struct tls *t = tls_of(s);
	int r;

	if (!t->finish_due)
		return stream_flush(s->below);
	if (!t->error && SSL_is_init_finished(t->ssl)) {
		ERR_clear_error();
		r = SSL_shutdown(t->ssl);
		if (r < 0 && trouble(t, r) == -EAGAIN)
			return -EAGAIN;
	}
	t->finish_due = false;
	return stream_finish(s->below);
}

static int tls_finish(struct stream *s)
{
	tls_of(s)->finish_due = true;
	return tls_flush(s);
}

static void tls_close(struct stream *s, bool orderly)
{
	struct tls *t = tls_of(s);

	if (orderly && !t->error && SSL_is_init_finished(t->ssl) &&
	    !(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN))
		(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
	SSL_free(t->ssl);
	tls_context_unref(t->context);
	free(t);
}

static bool tls_ready(const struct stream *s)
{
	const struct tls *t = tls_of(s);

	if (t->error)
		return true;
	if (t->wants_write)
		return s->end->writable;
	if (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN)
		return !t->ended;
	if (!t->starved)
		return SSL_has_pending(t->ssl) || can_read_below(s->below);
	return s->below->ops->ready && s->below->ops->ready(s->below);
}

static const struct stream_ops tls_stream_ops = {
	.name = "tls",
	.read = tls_read,
	.write = tls_write,
	.flush = tls_flush,
	.finish = tls_finish,
	.close = tls_close,
	.ready = tls_ready,
};

/* Whom a client expects, and tells that it does. */
static int name_set(SSL *ssl, const struct tls_settings *s)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	bool ip = s->name && hostname_is_ip(span_str(s->name));
	int r = 1;

	if (!s->name)
		return 0;
	if (!ip)
		r = (int)SSL_set_tlsext_host_name(ssl, s->name);
	if (r == 1 && s->verify)
		r = ip ? X509_VERIFY_PARAM_set1_ip_asc(param, s->name)
		       : SSL_set1_host(ssl, s->name);
	return r == 1 ? 0 : -ENOMEM;
}

int tls_push(struct end *e, struct tls_context *c)
{
	struct tls *t = NEW0(struct tls);
	BIO *bio = BIO_new(c->bio);

	if (!t || !bio)
		goto failed;
	t->ssl = SSL_new(c->ssl);
	if (!t->ssl || name_set(t->ssl, c->settings) < 0)
		goto failed;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	if (c->settings->role == TLS_SERVER)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	t->context = tls_context_ref(c);
	t->stream.ops = &tls_stream_ops;
	end_push(e, &t->stream);
	return 0;
failed:
	ERR_clear_error();
	BIO_free(bio);
	if (t)
		SSL_free(t->ssl);
	free(t);
	return -ENOMEM;
}

int tls_open(struct end *e)
{
	struct tls *t = tls_of(e->top);
	int r;

	if (t->error)
		return t->error;
	ERR_clear_error();
	r = SSL_do_handshake(t->ssl);
	if (r == 1)
		return 0;
	r = trouble(t, r);
	t->wants_write = SSL_want_write(t->ssl);
	return r ? r : -EPROTO;
}

const char *tls_failure(const struct end *e)
{
	const char *text = tls_of(e->top)->failure;

	return text ? text : "";
}
