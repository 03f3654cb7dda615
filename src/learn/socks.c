/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A client of version 5 offers methods, perhaps logs in, and asks; one of
 * version 4 only asks.  Each step takes one message from the front of what has come, however it
 * was cut into segments, and leaves what stands behind it: a client may send everything at once,
 * first data included, and those are the first that its server is given.
 *
 * BIND is a target, too: one that connects to us.  A dialer waits for it (dial/accept.c), and the
 * client has two replies: where it waits, and who has come or why nobody has.
 *
 * What a client is told, and when, is the core's business (flow_serve.c): the request is
 * answered when the server is there, or with why it is not.  Which version to answer in is said
 * by which of the answerers below greets; so a flow that has asked keeps no state here.
 *
 * Errors before there is a request have the answer that RFC 1928 and 1929 give them, or none;
 * then the connection is closed.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/socks.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/users.h"
#include "core/worker.h"
#include "learn/learn.h"
#include "sys/sock.h"

enum step {
	STEP_METHODS,
	STEP_LOGIN,
	STEP_REQUEST,
};

/* f->learner_state of version 5; none before the first step is done. */
struct socks_state {
	enum step step;
};

/* ---- answers ---- */

/* Of the reasons that are not here none is the network's, nor policy's. */
static const enum socks_status status_of_why[WHY_COUNT] = {
	[WHY_DENIED] = SOCKS_NOT_ALLOWED,
	[WHY_REJECTED] = SOCKS_NOT_ALLOWED,
	[WHY_BIND_REFUSED] = SOCKS_NOT_ALLOWED,
	[WHY_LOOP] = SOCKS_NOT_ALLOWED,
	[WHY_PROXY_REFUSED] = SOCKS_NOT_ALLOWED,
	[WHY_SERVER_UNREACHABLE] = SOCKS_HOST_UNREACHABLE,
	[WHY_NAME_UNKNOWN] = SOCKS_HOST_UNREACHABLE,
	[WHY_SERVER_REFUSED] = SOCKS_REFUSED,
	[WHY_CONNECT_TIMEOUT] = SOCKS_TTL_EXPIRED,
	[WHY_BIND_TIMEOUT] = SOCKS_TTL_EXPIRED,
};

static enum socks_status status_of(const struct flow *f, enum why why)
{
	if (why == WHY_OPEN)
		return SOCKS_OK;
	if (why == WHY_SERVER_UNREACHABLE && f->dial_error == -ENETUNREACH)
		return SOCKS_NETWORK_UNREACHABLE;
	return status_of_why[why] ? status_of_why[why] : SOCKS_FAILED;
}

static int socks5_reply(struct flow *f, enum socks_status status, const struct addr *bound)
{
	uint8_t out[SOCKS_REPLY_MAX_BYTES];

	return flow_reply(f, span_of(out, socks5_reply_write(out, status, bound)));
}

static int socks4_reply(struct flow *f, enum socks4_status status, const struct addr *bound)
{
	uint8_t out[SOCKS_REPLY_MAX_BYTES];

	return flow_reply(f, span_of(out, socks4_reply_write(out, status, bound)));
}

/* The address from which the server has been dialled, or of the peer that was waited for; unset
 * while there is none. */
static struct addr bound_of(const struct flow *f)
{
	struct addr a = { 0 };

	if (f->facts.bind)
		return f->facts.target;
	if (end_is_open(&f->server) && sock_local(f->server.fd, &a) < 0)
		a = (struct addr){ 0 };
	return a;
}

static int socks5_answer(struct flow *f, const struct learner *l, enum why outcome)
{
	struct addr bound = outcome == WHY_OPEN ? bound_of(f) : (struct addr){ 0 };

	return socks5_reply(f, status_of(f, outcome), &bound);
}

static int socks4_answer(struct flow *f, const struct learner *l, enum why outcome)
{
	struct addr bound = outcome == WHY_OPEN ? bound_of(f) : (struct addr){ 0 };

	return socks4_reply(f, outcome == WHY_OPEN ? SOCKS4_GRANTED : SOCKS4_REJECTED, &bound);
}

/* The first of BIND's two replies: where the peer can connect to. */
static int socks5_waiting(struct flow *f, const struct learner *l, const struct addr *bound)
{
	return socks5_reply(f, SOCKS_OK, bound);
}

static int socks4_waiting(struct flow *f, const struct learner *l, const struct addr *bound)
{
	return socks4_reply(f, SOCKS4_GRANTED, bound);
}

static const struct learner_ops socks5_answerer_ops = {
	.name = "socks5",
	.answer = socks5_answer,
	.waiting = socks5_waiting,
};
static const struct learner_ops socks4_answerer_ops = {
	.name = "socks4",
	.answer = socks4_answer,
	.waiting = socks4_waiting,
};
static const struct learner socks5_answerer = { .ops = &socks5_answerer_ops };
static const struct learner socks4_answerer = { .ops = &socks4_answerer_ops };

/* ---- steps ---- */

static enum learn_result fail(struct flow *f, enum why why)
{
	f->why = why;
	return LEARN_FAILED;
}

/* End it after @answer, which may be empty. */
static enum learn_result turn_away(struct flow *f, struct span answer, enum why why)
{
	if (answer.len && flow_reply(f, answer) < 0)
		return fail(f, WHY_CLIENT_RESET);
	flow_farewell(f, why);
	return LEARN_FAILED;
}

/* The two-byte answers of RFC 1928 section 3 and RFC 1929. */
static enum learn_result turn_away_short(struct flow *f, uint8_t version, uint8_t status,
					 enum why why)
{
	return turn_away(f, span_of((uint8_t[]){ version, status }, 2), why);
}

static enum learn_result refuse_request(struct flow *f, const struct socks_request *req,
					enum socks_status status, enum why why)
{
	const struct addr none = { 0 };
	uint8_t out[SOCKS_REPLY_MAX_BYTES];
	size_t n;

	if (req->version == SOCKS4_VERSION)
		n = socks4_reply_write(out, SOCKS4_REJECTED, &none);
	else
		n = socks5_reply_write(out, status, &none);
	return turn_away(f, span_of(out, n), why);
}

/* The message of @bytes has been understood and answered with @status; on to @next. */
static enum learn_result step_done(struct flow *f, size_t bytes, uint8_t version, uint8_t status,
				   enum step next)
{
	struct socks_state *st = f->learner_state;

	if (!st)
		f->learner_state = st = NEW0(struct socks_state);
	if (!st)
		return fail(f, WHY_INTERNAL);
	flow_consume(f, bytes);
	if (flow_reply(f, span_of((uint8_t[]){ version, status }, 2)) < 0)
		return fail(f, WHY_CLIENT_RESET);
	st->step = next;
	return LEARN_AGAIN;
}

static enum learn_result learn_methods(struct flow *f, struct span look)
{
	struct socks_methods m;

	switch (socks5_methods_parse(look, &m)) {
	case CODEC_MORE:
		return LEARN_MORE;
	case CODEC_DONE:
		break;
	case CODEC_OTHER:
	case CODEC_BAD:
		return turn_away_short(f, SOCKS5_VERSION, SOCKS_METHOD_UNACCEPTABLE, WHY_GREETING);
	}
	if (f->listener->users && m.password)
		return step_done(f, m.bytes, SOCKS5_VERSION, SOCKS_METHOD_PASSWORD, STEP_LOGIN);
	if (!f->listener->users && m.none)
		return step_done(f, m.bytes, SOCKS5_VERSION, SOCKS_METHOD_NONE, STEP_REQUEST);
	return turn_away_short(f, SOCKS5_VERSION, SOCKS_METHOD_UNACCEPTABLE,
			       f->listener->users ? WHY_LOGIN : WHY_GREETING);
}

static enum learn_result learn_login(struct flow *f, struct span look)
{
	struct socks_login login;

	switch (socks5_login_parse(look, &login)) {
	case CODEC_MORE:
		return LEARN_MORE;
	case CODEC_DONE:
		break;
	case CODEC_OTHER:
	case CODEC_BAD:
		return turn_away_short(f, SOCKS_AUTH_VERSION, 1, WHY_LOGIN);
	}
	switch (login_check(f, f->listener->users, login.user, login.password)) {
	case LOGIN_YES:
		f->facts.user = text_dup(login.user);
		if (!f->facts.user)
			return fail(f, WHY_INTERNAL);
		return step_done(f, login.bytes, SOCKS_AUTH_VERSION, 0, STEP_REQUEST);
	case LOGIN_LATER:
		return LEARN_MORE;
	case LOGIN_NO:
		break;
	}
	return turn_away_short(f, SOCKS_AUTH_VERSION, 1, WHY_LOGIN);
}

/* What @req asks for becomes facts. */
static int note_target(struct flow *f, const struct socks_request *req)
{
	f->facts.target = req->address;
	if (!*req->name)
		return 0;
	f->facts.target_name = text_dup(span_str(req->name));
	f->facts.host = text_dup(span_str(req->name));
	f->facts.named = f->facts.host;
	return f->facts.target_name && f->facts.host ? 0 : -ENOMEM;
}

static enum learn_result take_request(struct flow *f, const struct socks_conf *conf,
				      const struct socks_request *req)
{
	const struct parts *parts = &f->worker->realm->parts;

	if (req->command == SOCKS_UDP_ASSOCIATE && req->version == SOCKS5_VERSION &&
	    parts->associate) {
		f->facts.target = req->address;
		flow_consume(f, req->bytes);
		flow_serve(f, parts->associate);
		return LEARN_DONE;
	}
	f->facts.bind = req->command == SOCKS_BIND && parts->accept_dialer;
	if (req->command != SOCKS_CONNECT && !f->facts.bind)
		return refuse_request(f, req, SOCKS_BAD_COMMAND, WHY_GREETING);
	if (!f->facts.bind && !*req->name &&
	    (addr_is_unspecified(&req->address) || !req->address.port))
		return refuse_request(f, req, SOCKS_HOST_UNREACHABLE, WHY_NO_TARGET);
	if (note_target(f, req) < 0)
		return refuse_request(f, req, SOCKS_FAILED, WHY_INTERNAL);
	flow_consume(f, req->bytes);
	flow_greeted(f, req->version == SOCKS4_VERSION ? &socks4_answerer : &socks5_answerer);
	return LEARN_DONE;
}

static enum learn_result learn_request(struct flow *f, const struct socks_conf *conf,
				       struct span look, bool version4)
{
	struct socks_request req;

	switch (version4 ? socks4_request_parse(look, &req) : socks5_request_parse(look, &req)) {
	case CODEC_MORE:
		return LEARN_MORE;
	case CODEC_DONE:
		/* version 4 has a name for its user, and no password */
		if (version4 && f->listener->users)
			return refuse_request(f, &req, SOCKS_NOT_ALLOWED, WHY_LOGIN);
		return take_request(f, conf, &req);
	case CODEC_OTHER:
	case CODEC_BAD:
		break;
	}
	return refuse_request(f, &req, req.status, WHY_GREETING);
}

static enum learn_result learn_step(struct flow *f, const struct socks_conf *conf,
				    struct span look)
{
	const struct socks_state *st = f->learner_state;

	if (!st && look.data[0] == SOCKS4_VERSION)
		return learn_request(f, conf, look, true);
	if (!st)
		return learn_methods(f, look);
	switch (st->step) {
	case STEP_METHODS:
		break;
	case STEP_LOGIN:
		return learn_login(f, look);
	case STEP_REQUEST:
		return learn_request(f, conf, look, false);
	}
	return fail(f, WHY_INTERNAL);
}

static enum learn_result socks_learn(struct flow *f, const struct learner *l, struct span look,
				     bool last)
{
	const struct socks_conf *conf = l->conf;
	enum learn_result r = LEARN_MORE;

	if (look.len && !f->learner_state && look.data[0] != SOCKS4_VERSION &&
	    look.data[0] != SOCKS5_VERSION)
		return conf->shared ? LEARN_DONE
				    : turn_away(f, span_of(NULL, 0), WHY_GREETING);
	if (look.len)
		r = learn_step(f, conf, look);
	if (r == LEARN_MORE && last) /* the client has closed in the middle */
		return turn_away(f, span_of(NULL, 0), WHY_NO_TARGET);
	return r;
}

static void socks_forget(struct flow *f)
{
	free(f->learner_state);
	f->learner_state = NULL;
}

const struct learner_ops socks_learner_ops = {
	.name = "socks",
	.consumes = true,
	.learn = socks_learn,
	.forget = socks_forget,
};
