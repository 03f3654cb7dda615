/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_LIBRARY_FIXTURE_H
#define UNIT_LIBRARY_FIXTURE_H

/*
 * An engine as its users see it, that notes its events, with a listener of mode fixed; over the
 * loopback of a namespace of this process's own.
 */
#include <errno.h>
#include <stdio.h>

#include "filter/interceptor.h"
#include "flow_fixture.h"
#include "limpid/limpid.h"

/* What events and log lines came, by any thread. */
struct heard {
	pthread_mutex_t lock;
	char events[4096];
	unsigned int n_lines, n_closed, n_accepted;
	char last_line[512];
	char closed[256];
	uint64_t up, down;
	bool spliced;
};

static inline void hear_event(struct heard *h, const char *fmt, const char *more)
{
	size_t n;

	pthread_mutex_lock(&h->lock);
	n = strlen(h->events);
	snprintf(h->events + n, sizeof(h->events) - n, fmt, more);
	pthread_mutex_unlock(&h->lock);
}

static inline void on_accepted(void *user, struct limpid_flow *flow)
{
	struct heard *h = user;

	assert_null(limpid_flow_user(flow));
	limpid_flow_set_user(flow, h);
	assert_string_equal(limpid_flow_why(flow), "open");
	hear_event(h, "accepted ", NULL);
	pthread_mutex_lock(&h->lock);
	h->n_accepted++;
	pthread_mutex_unlock(&h->lock);
}

static inline void on_dialling(void *user, struct limpid_flow *flow)
{
	char text[LIMPID_ADDRESS_MAX];

	assert_ptr_equal(limpid_flow_user(flow), user);
	hear_event(user, "dialling %s ", limpid_flow_server(flow, text));
}

static inline void on_opened(void *user, struct limpid_flow *flow)
{
	hear_event(user, "opened %s ", limpid_flow_listener(flow));
}

static inline void on_client_finished(void *user, struct limpid_flow *flow, bool reset)
{
	(void)flow;
	hear_event(user, "client-%s ", reset ? "reset" : "finished");
}

static inline void on_server_finished(void *user, struct limpid_flow *flow, bool reset)
{
	(void)flow;
	hear_event(user, "server-%s ", reset ? "reset" : "finished");
}

static inline void on_error(void *user, struct limpid_flow *flow, const char *text)
{
	assert_string_equal(text, limpid_flow_why_text(flow));
	hear_event(user, "error ", NULL);
}

static inline void on_closed(void *user, struct limpid_flow *flow)
{
	struct heard *h = user;
	struct sockaddr_storage a;

	assert_int_equal(limpid_flow_client_sockaddr(flow, &a), 0);
	assert_int_equal(a.ss_family, AF_INET);
	assert_true(limpid_flow_id(flow) > 0);
	hear_event(h, "closed %s\n", limpid_flow_why(flow));
	pthread_mutex_lock(&h->lock);
	h->up = limpid_flow_bytes(flow, LIMPID_UP);
	h->down = limpid_flow_bytes(flow, LIMPID_DOWN);
	h->spliced = flow_private(flow)->up.was_spliced;
	h->n_closed++;
	pthread_mutex_unlock(&h->lock);
}

static inline void on_listen_error(void *user, const char *listener, const char *address, int error)
{
	assert_string_equal(listener, "second");
	assert_int_equal(error, EADDRINUSE);
	hear_event(user, "listen-error %s ", address);
}

static const struct limpid_events events = {
	.size = sizeof(events),
	.accepted = on_accepted,
	.dialling = on_dialling,
	.opened = on_opened,
	.client_finished = on_client_finished,
	.server_finished = on_server_finished,
	.error = on_error,
	.closed = on_closed,
	.listen_error = on_listen_error,
};

static inline void on_line(void *user, enum limpid_log_level level, const char *line)
{
	struct heard *h = user;

	(void)level;
	assert_null(strchr(line, '\n'));
	pthread_mutex_lock(&h->lock);
	h->n_lines++;
	snprintf(h->last_line, sizeof(h->last_line), "%s", line);
	pthread_mutex_unlock(&h->lock);
}

/* ---- an engine with a listener of mode fixed ---- */

struct house {
	struct limpid *limpid;
	struct heard heard;
	struct addr address, server;
	int server_fd;
	char listen[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
};

/* A port that was free a moment ago; nobody else is in this namespace. */
static inline void free_address(struct addr *ret)
{
	close(listen_anywhere(ret, 1));
}

static inline void house_init(struct house *h)
{
	const struct limpid_options options = { .size = sizeof(options), .threads = 2 };

	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->heard.lock, NULL);
	h->server_fd = listen_anywhere(&h->server, 16);
	free_address(&h->address);
	addr_format(&h->address, h->listen);
	addr_format(&h->server, h->to);
	assert_int_equal(limpid_new(&options, &h->limpid), 0);
	assert_int_equal(limpid_set_events(h->limpid, &events, &h->heard), 0);
}

static inline void house_listen(struct house *h)
{
	const struct limpid_listener l = { .size = sizeof(l),
					   .name = "door",
					   .mode = LIMPID_FIXED,
					   .address = h->listen,
					   .to = h->to };

	assert_int_equal(limpid_add_listener(h->limpid, &l), 0);
}

static inline void house_done(struct house *h)
{
	limpid_free(h->limpid);
	close(h->server_fd);
	pthread_mutex_destroy(&h->heard.lock);
}

static inline void wait_closed(struct house *h, unsigned int n)
{
	unsigned int now = 0;

	for (unsigned int ms = 0; ms < WAIT_MS && now < n; ms++) {
		pthread_mutex_lock(&h->heard.lock);
		now = h->heard.n_closed;
		pthread_mutex_unlock(&h->heard.lock);
		nap_ms(1);
	}
	assert_int_equal(now, n);
}

/* One exchange; the client ends first. */
static inline void exchange(struct house *h)
{
	int c = dial(&h->address), s = take_connection(h->server_fd);

	say(c, "question");
	hear(s, "question");
	say(s, "answer");
	hear(c, "answer");
	close(c);
	hear_fin(s);
	close(s);
}

#endif
