/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A plan's proxy may itself be reached through another: the chain is walked
 * from the one that limpid connects to.  Each hop is: its TLS layer if it has one, what it is
 * asked, what it answers; then the connection leads to the next hop, or to the target, and is
 * what a direct one would be.  Nothing of this stays behind but TLS layers.
 *
 *	CONNECT		to the first hop, by address or by name (Happy Eyeballs)
 *	LAYER		TLS with the hop comes up
 *	SEND		what it is asked is on its way
 *	RECEIVE		its answer is
 *
 * Whoever reads a header of the PROXY protocol does not answer: it is sent, and the hop is done.
 * Answers of SOCKS are read to the byte.  How long the head of an HTTP answer is shows only when
 * it is there, so what follows it is given back (end_unread()).
 *
 * A name goes to the last proxy as a name; limpid does not ask for it.  What fails before the
 * last proxy has been asked is the fault of a proxy, what that one answers may be about the
 * target.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/http1_connect.h"
#include "codec/proxy_header.h"
#include "codec/socks.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/via.h"
#include "core/worker.h"
#include "dial/eyeballs.h"
#include "dial/source.h"
#include "dial/via.h"
#include "sys/sock.h"

#define HEAD_MAX_BYTES ((size_t)16 << 10)

enum step {
	STEP_CONNECT,
	STEP_LAYER,
	STEP_SEND,
	STEP_RECEIVE,
};

enum awaited {
	AWAITED_METHOD,
	AWAITED_LOGIN,
	AWAITED_REPLY,
	AWAITED_HEAD,
	AWAITED_NOTHING,
};

/**
 * struct via_dial - f->dialer_state
 * @hops:	in the order in which they are reached
 * @at:		the one that is being spoken to
 * @eyeballs:	connects to the first one's name
 * @out:	to be sent; @in: received
 * @done:	the last one has connected
 */
struct via_dial {
	struct flow *flow;
	const struct via *hops[VIA_HOPS_MAX];
	unsigned int n_hops, at;
	struct eyeballs *eyeballs;
	enum step step;
	enum awaited awaited;
	struct buf out, in;
	bool done;
};

static int fail(struct via_dial *v, enum why why)
{
	v->flow->why = why;
	return -ECANCELED;
}

/* What @error of a connection to the first hop means for the flow. */
static int fail_connect(struct via_dial *v, int error)
{
	switch (-error) {
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ETIMEDOUT:
	case ECANCELED: /* its name has no address */
		return fail(v, WHY_PROXY_FAILED);
	default:
		return error;
	}
}

static bool is_last(const struct via_dial *v)
{
	return v->at + 1 == v->n_hops;
}

/* Whom the present hop is to connect to; a name in @ret_name, NULL: an address. */
static const struct addr *destination(const struct via_dial *v, const char **ret_name)
{
	const struct facts *facts = &v->flow->facts;

	if (is_last(v)) {
		*ret_name = facts->target.family ? NULL : facts->target_name;
		return &facts->target;
	}
	*ret_name = v->hops[v->at + 1]->host;
	return &v->hops[v->at + 1]->address;
}

/* ---- asking ---- */

static int ask(struct via_dial *v, const void *bytes, size_t len, enum awaited awaited)
{
	buf_done(&v->in);
	v->step = STEP_SEND;
	v->awaited = awaited;
	return buf_append(&v->out, span_of(bytes, len), HEAD_MAX_BYTES);
}

static int ask_methods(struct via_dial *v)
{
	bool login = v->hops[v->at]->user;
	const uint8_t methods[] = { SOCKS5_VERSION, login ? 2 : 1, SOCKS_METHOD_NONE,
				    SOCKS_METHOD_PASSWORD };

	return ask(v, methods, login ? 4 : 3, AWAITED_METHOD);
}

/* RFC 1929 section 2. */
static int ask_login(struct via_dial *v)
{
	const struct via *hop = v->hops[v->at];
	size_t user = strlen(hop->user), password = strlen(hop->password);
	uint8_t out[3 + 2 * UINT8_MAX];
	int r;

	out[0] = SOCKS_AUTH_VERSION;
	out[1] = (uint8_t)user; /* the configuration knows the limit */
	memcpy(out + 2, hop->user, user);
	out[2 + user] = (uint8_t)password;
	memcpy(out + 3 + user, hop->password, password);
	r = ask(v, out, 3 + user + password, AWAITED_LOGIN);
	explicit_bzero(out, sizeof(out));
	return r;
}

static int ask_socks(struct via_dial *v)
{
	uint8_t out[SOCKS_UDP_HEADER_MAX_BYTES];
	const char *name;
	const struct addr *to = destination(v, &name);
	int n = socks5_request_write(out, SOCKS_CONNECT, to, name);

	return n < 0 ? n : ask(v, out, (size_t)n, AWAITED_REPLY);
}

static int ask_http(struct via_dial *v)
{
	const struct via *hop = v->hops[v->at];
	char out[HTTP1_CONNECT_CAP];
	const char *name;
	const struct addr *to = destination(v, &name);
	int n = http1_connect_write(out, to, name, hop->user, hop->password);

	return n < 0 ? n : ask(v, out, (size_t)n, AWAITED_HEAD);
}

static int tell(struct via_dial *v, uint8_t version)
{
	uint8_t out[PROXY_HEADER_WRITE_CAP];
	const char *name;
	const struct addr *to = destination(v, &name); /* names are resolved, or no configuration */

	return ask(v, out, flow_header_write(v->flow, version, to, out), AWAITED_NOTHING);
}

/* The connection leads to hop v->at. */
static int hop_begin(struct via_dial *v)
{
	const struct via *hop = v->hops[v->at];
	int r;

	switch (hop->type) {
	case VIA_SOCKS5:
		return ask_methods(v);
	case VIA_HTTP:
		return ask_http(v);
	case VIA_HTTPS:
		r = hop->tls.ops->push(&v->flow->server, hop->tls.conf);
		v->step = STEP_LAYER;
		return r;
	case VIA_PROXY_V1:
		return tell(v, 1);
	case VIA_PROXY_V2:
		return tell(v, 2);
	}
	return -EINVAL;
}

/* ---- answers ---- */

/* The hop has connected. */
static int hop_done(struct via_dial *v)
{
	buf_done(&v->in);
	if (is_last(v)) {
		v->done = true;
		return 0;
	}
	v->at++;
	return hop_begin(v);
}

static int take_method(struct via_dial *v)
{
	const uint8_t *in = v->in.data;

	if (in[0] != SOCKS5_VERSION)
		return fail(v, WHY_PROXY_FAILED);
	if (in[1] == SOCKS_METHOD_NONE)
		return ask_socks(v);
	if (in[1] == SOCKS_METHOD_PASSWORD && v->hops[v->at]->user)
		return ask_login(v);
	return fail(v, WHY_PROXY_LOGIN);
}

static int take_login(struct via_dial *v)
{
	return v->in.data[1] ? fail(v, WHY_PROXY_LOGIN) : ask_socks(v);
}

static int take_reply(struct via_dial *v)
{
	struct addr bound;
	uint8_t status;
	size_t n;

	if (socks5_reply_parse(buf_span(&v->in), &status, &bound, &n) != CODEC_DONE)
		return fail(v, WHY_PROXY_FAILED);
	if (status == SOCKS_OK)
		return hop_done(v);
	if (status == SOCKS_NOT_ALLOWED)
		return fail(v, WHY_PROXY_REFUSED);
	if (!is_last(v))
		return fail(v, WHY_PROXY_FAILED);
	switch (status) {
	case SOCKS_NETWORK_UNREACHABLE:
		return -ENETUNREACH;
	case SOCKS_HOST_UNREACHABLE:
		return -EHOSTUNREACH;
	case SOCKS_REFUSED:
		return -ECONNREFUSED;
	case SOCKS_TTL_EXPIRED:
		return -ETIMEDOUT;
	default:
		return fail(v, WHY_PROXY_FAILED);
	}
}

static int take_status(struct via_dial *v, uint16_t status)
{
	if (status == 407)
		return fail(v, WHY_PROXY_LOGIN);
	if (status < 500)
		return fail(v, WHY_PROXY_REFUSED);
	if (!is_last(v))
		return fail(v, WHY_PROXY_FAILED);
	return status == 504 ? -ETIMEDOUT : -EHOSTUNREACH;
}

static int take_head(struct via_dial *v)
{
	uint16_t status;
	size_t n;
	int r;

	for (;;) {
		switch (http1_status_parse(buf_span(&v->in), &status, &n)) {
		case CODEC_DONE:
			break;
		case CODEC_MORE:
			return v->in.len < HEAD_MAX_BYTES ? -EAGAIN : fail(v, WHY_PROXY_FAILED);
		case CODEC_OTHER:
		case CODEC_BAD:
			return fail(v, WHY_PROXY_FAILED);
		}
		if (status >= 200)
			break;
		buf_consume(&v->in, n); /* an interim answer (RFC 9110 section 15.2) */
	}
	if (status >= 300)
		return take_status(v, status);
	r = end_unread(&v->flow->server, span_skip(buf_span(&v->in), n));
	return r < 0 ? r : hop_done(v);
}

/* How long the answer is, as far as it can be told from what has come; 0: it cannot. */
static size_t answer_bytes(const struct via_dial *v)
{
	const uint8_t *in = v->in.data;

	switch (v->awaited) {
	case AWAITED_METHOD:
	case AWAITED_LOGIN:
		return 2;
	case AWAITED_REPLY: /* RFC 1928 section 6 */
		if (v->in.len < 5)
			return 5;
		return in[3] == 1 ? 10 : in[3] == 4 ? 22 : in[3] == 3 ? 7u + in[4] : 5;
	case AWAITED_HEAD:
	case AWAITED_NOTHING:
		break;
	}
	return 0;
}

static int take_answer(struct via_dial *v)
{
	switch (v->awaited) {
	case AWAITED_METHOD:
		return take_method(v);
	case AWAITED_LOGIN:
		return take_login(v);
	case AWAITED_REPLY:
		return take_reply(v);
	case AWAITED_HEAD:
		return take_head(v);
	case AWAITED_NOTHING:
		return hop_done(v);
	}
	return -EINVAL;
}

/* ---- steps: 0, go on; -EAGAIN, later; another -errno, it failed ---- */

static int send_out(struct via_dial *v)
{
	struct end *e = &v->flow->server;
	ssize_t n;

	while (v->out.len) {
		if (!e->writable)
			return -EAGAIN;
		n = stream_write(e->top, v->out.data, v->out.len);
		if (n == -EAGAIN)
			return -EAGAIN;
		if (n < 0)
			return fail(v, WHY_PROXY_FAILED);
		buf_consume(&v->out, (size_t)n);
	}
	v->step = STEP_RECEIVE;
	return stream_flush(e->top);
}

static int receive(struct via_dial *v)
{
	struct end *e = &v->flow->server;
	uint8_t bytes[1024];
	size_t whole = answer_bytes(v), want = sizeof(bytes);
	ssize_t n;

	if (v->awaited == AWAITED_NOTHING || (whole && v->in.len >= whole))
		return take_answer(v);
	if (whole)
		want = whole - v->in.len;
	else if (want > HEAD_MAX_BYTES - v->in.len)
		want = HEAD_MAX_BYTES - v->in.len;
	if (!end_can_read(e))
		return -EAGAIN;
	n = stream_read(e->top, bytes, want);
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n <= 0)
		return fail(v, n == -EPROTO ? WHY_SERVER_TLS : WHY_PROXY_FAILED);
	if (buf_append(&v->in, span_of(bytes, (size_t)n), HEAD_MAX_BYTES) < 0)
		return -ENOMEM;
	if (whole)
		return 0;
	n = take_answer(v);
	return n == -EAGAIN ? 0 : (int)n; /* read on */
}

static int open_layer(struct via_dial *v)
{
	switch (v->hops[v->at]->tls.ops->open(&v->flow->server)) {
	case 0:
		return ask_http(v);
	case -EAGAIN:
		return -EAGAIN;
	case -ENOMEM:
		return -ENOMEM;
	default:
		return fail(v, WHY_SERVER_TLS);
	}
}

static int connected(struct via_dial *v)
{
	struct end *e = &v->flow->server;
	int r;

	if (v->eyeballs) {
		r = eyeballs_step(v->eyeballs);
		if (r == -EAGAIN)
			return r;
		eyeballs_free(TAKE_PTR(v->eyeballs));
		return r < 0 ? fail_connect(v, r) : hop_begin(v);
	}
	if (e->failed)
		return fail(v, WHY_PROXY_FAILED);
	if (!e->writable)
		return -EAGAIN;
	sock_connected(e->fd, v->hops[0]->address.family);
	return hop_begin(v);
}

static int step(struct via_dial *v)
{
	switch (v->step) {
	case STEP_CONNECT:
		return connected(v);
	case STEP_LAYER:
		return open_layer(v);
	case STEP_SEND:
		return send_out(v);
	case STEP_RECEIVE:
		return receive(v);
	}
	return -EINVAL;
}

/* ---- the dialer ---- */

static int connect_begin(struct via_dial *v)
{
	const struct via *first = v->hops[0];
	struct flow *f = v->flow;
	const struct realm *realm = f->worker->realm;
	int fd, r;

	if (first->host) {
		v->eyeballs = eyeballs_new(f, first->host, first->address.port, &f->plan);
		return v->eyeballs ? fail_connect(v, eyeballs_begin(v->eyeballs)) : -ENOMEM;
	}
	if (listeners_include(realm->listeners, realm->n_listeners, &first->address))
		return -ELOOP;
	(void)flow_attempt_forget(f, TAKE_PTR(f->made)); /* of a served flow's last server */
	flow_attempt_begin(f);
	fd = source_connect(f, &first->address, &f->plan, &f->source_got);
	r = flow_attempt_end(f, fd, &first->address, &f->made);
	if (fd < 0)
		return fail_connect(v, fd);
	f->server.fd = fd;
	return r;
}

static int via_dial(struct flow *f)
{
	struct via_dial *v = NEW0(struct via_dial);

	if (!v)
		return -ENOMEM;
	f->dialer_state = v;
	v->flow = f;
	for (const struct via *hop = f->plan.via; hop && v->n_hops < VIA_HOPS_MAX; hop = hop->via)
		v->n_hops++;
	for (const struct via *hop = f->plan.via, **at = &v->hops[v->n_hops]; hop && at > v->hops;
	     hop = hop->via)
		*--at = hop;
	return connect_begin(v);
}

static void via_forget(struct flow *f)
{
	struct via_dial *v = f->dialer_state;

	f->dialer_state = NULL;
	if (!v)
		return;
	eyeballs_free(v->eyeballs);
	buf_done(&v->out);
	buf_done(&v->in);
	free(v);
}

static int via_dialled(struct flow *f)
{
	struct via_dial *v = f->dialer_state;
	int r = 0;

	while (!r) {
		r = step(v);
		if (!r && v->done) {
			via_forget(f);
			return 0;
		}
	}
	return r;
}

const struct dialer_ops via_dialer_ops = {
	.name = "via",
	.dial = via_dial,
	.dialled = via_dialled,
	.forget = via_forget,
};
