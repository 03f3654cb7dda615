/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Each request says who asks.  What was found right is remembered for the
 * connection, so that the next request with the same words costs a comparison; after a while it is
 * looked up again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "codec/http1_basic.h"
#include "core/listener.h"
#include "core/worker.h"
#include "proto/http_hub.h"

/* For this long a login is not looked up again. */
#define LOGIN_MS 60000

static bool login_is_known(const struct hub *h, struct span value)
{
	return h->login.len && loop_now_ms(&h->flow->worker->loop) < h->login_ms &&
	       span_eq(buf_span(&h->login), value);
}

static enum login_answer login_ask(struct hub *h, struct users *users, struct span value)
{
	uint8_t room[HTTP1_BASIC_CAP];
	struct span name, password;
	struct facts *facts = &h->flow->facts;
	enum login_answer answer = LOGIN_NO;

	if (http1_basic_parse(value, room, &name, &password) == 0)
		answer = login_check(h->flow, users, name, password);
	if (answer == LOGIN_YES) {
		free(facts->user);
		facts->user = text_dup(name);
		h->login.len = 0;
		h->login_ms = loop_now_ms(&h->flow->worker->loop) + LOGIN_MS;
		if (!facts->user || buf_append(&h->login, value, SIZE_MAX) < 0)
			answer = LOGIN_NO;
	}
	explicit_bzero(room, sizeof(room));
	return answer;
}

enum login_answer hub_log_in(struct hub *h, const struct http1_summary *fields)
{
	struct users *users = h->flow->listener->users;
	struct span value = fields->first[HTTP1_PROXY_AUTHORIZATION];

	if (!users)
		return LOGIN_YES;
	if (fields->n[HTTP1_PROXY_AUTHORIZATION] != 1)
		return LOGIN_NO;
	return login_is_known(h, value) ? LOGIN_YES : login_ask(h, users, value);
}
