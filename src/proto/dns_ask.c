/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  One query goes to one server after the other until one answers:
 * resolver.attempts rounds, in each of which the time for an answer doubles.  Each try has an id
 * and a socket (so a port) of its own, both random, and the socket is connected: the kernel
 * drops what comes from elsewhere, and tells at once where nobody listens.  What is not an
 * answer to this question under this id is passed over, and waiting goes on (RFC 5452 section 9).
 *
 * A server that says SERVFAIL, NOTIMP or REFUSED does not help, so the next is asked; the client
 * hears SERVFAIL when none has helped.  A truncated answer leads to the same server by TCP.
 * What the client asked for goes on as it came, its OPT record included.
 *
 * c-ares, which asks for limpid's own dials, is no forwarder: it rewrites what it sends when a
 * server does not like EDNS, cuts long answers, and keeps one port while it is busy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/listener.h"
#include "proto/dns_desk.h"
#include "sys/sock.h"

#define PORT_DNS 53
#define LENGTH_BYTES 2
#define DATAGRAMS_PER_EVENT 16

static struct loop *loop_of(const struct dns_ask *a)
{
	return &a->desk->worker->loop;
}

static void ask_close(struct dns_ask *a)
{
	timer_cancel(&loop_of(a)->timers, &a->timer);
	buf_done(&a->in);
	a->sent = 0;
	if (a->fd < 0)
		return;
	own_ports_del(a->desk->worker->realm->own_ports, TAKE_PTR(a->own));
	loop_forget(loop_of(a), &a->watch);
	if (a->by_tcp)
		sock_close_orderly(a->fd);
	else
		close(a->fd);
	a->fd = -1;
}

static uint32_t patience_ms(const struct dns_ask *a, size_t n_servers)
{
	const struct resolver_settings *s = &a->desk->worker->realm->snapshot->resolver;

	return s->timeout_ms << ((a->tried - 1) / n_servers);
}

/* By UDP or TCP to a->server.  Return: 0 or -errno. */
static int ask_open(struct dns_ask *a, bool by_tcp)
{
	const struct realm *realm = a->desk->worker->realm;
	uint32_t mark = realm->snapshot->mark;
	struct addr to = a->server;
	ssize_t n;
	int r;

	if (!to.port)
		to.port = PORT_DNS;
	if (listeners_include(realm->listeners, realm->n_listeners, &to))
		return -ELOOP;
	if (getrandom(&a->id, sizeof(a->id), 0) != sizeof(a->id))
		return -EIO;
	a->bytes[LENGTH_BYTES] = (uint8_t)(a->id >> 8);
	a->bytes[LENGTH_BYTES + 1] = (uint8_t)a->id;
	a->by_tcp = by_tcp;
	a->fd = by_tcp ? sock_connect(&to, NULL, 0, mark, realm->maker)
		       : udp_connected(&to, mark, realm->maker);
	if (a->fd < 0) {
		r = a->fd;
		a->fd = -1;
		return r;
	}
	if (by_tcp)
		return loop_watch(loop_of(a), &a->watch, a->fd);
	r = realm->own_ports ? own_ports_add(realm->own_ports, a->fd, &a->own) : 0;
	if (r < 0)
		return r;
	n = sock_send(a->fd, a->bytes + LENGTH_BYTES, a->n_bytes - LENGTH_BYTES);
	return n < 0 ? (int)n : loop_watch_level(loop_of(a), &a->watch, a->fd, false);
}

/* The next server, or the last has been asked. */
static void ask_next(struct dns_ask *a)
{
	const struct resolver_settings *s = &a->desk->worker->realm->snapshot->resolver;
	const struct addr *servers;
	size_t n = dns_servers(a->desk, &servers);

	ask_close(a);
	while (a->tried < n * s->attempts) {
		a->server = servers[(a->first + a->tried++) % n];
		if (ask_open(a, false) == 0) {
			timer_set(&loop_of(a)->timers, &a->timer, patience_ms(a, n));
			return;
		}
		ask_close(a);
	}
	a->server = (struct addr){ 0 };
	dns_answered(a, NULL, 0);
}

static void ask_by_tcp(struct dns_ask *a)
{
	const struct addr *servers;
	size_t n = dns_servers(a->desk, &servers);

	ask_close(a);
	if (ask_open(a, true) == 0)
		timer_set(&loop_of(a)->timers, &a->timer, patience_ms(a, n));
	else
		ask_next(a);
}

static bool helps(uint8_t rcode)
{
	return rcode != DNS_SERVFAIL && rcode != DNS_NOTIMP && rcode != DNS_REFUSED;
}

/* A message of the server.  False: it is not about this query. */
static bool ask_take(struct dns_ask *a, uint8_t *data, size_t len)
{
	struct dns_message sent = a->query, m;

	sent.id = a->id;
	if (dns_parse(span_of(data, len), &m) != CODEC_DONE)
		return false;
	/* Who fails may leave the question out. */
	if (!m.n_questions && m.response && m.id == a->id && m.rcode) {
		ask_next(a);
		return true;
	}
	if (!dns_answers(&m, &sent))
		return false;
	if (m.truncated && !a->by_tcp)
		ask_by_tcp(a);
	else if (!helps(m.rcode))
		ask_next(a);
	else
		dns_answered(a, data, len);
	return true;
}

static void datagram_on_ready(struct dns_ask *a)
{
	for (int i = 0; i < DATAGRAMS_PER_EVENT; i++) {
		ssize_t n = sock_recv(a->fd, a->desk->buffer, DNS_BUFFER_BYTES);

		if (n == -EAGAIN)
			return;
		if (n < 0) {
			ask_next(a);
			return;
		}
		if (ask_take(a, a->desk->buffer, (size_t)n))
			return;
	}
}

static int stream_send(struct dns_ask *a)
{
	while (a->sent < a->n_bytes) {
		ssize_t n = sock_send(a->fd, a->bytes + a->sent, a->n_bytes - a->sent);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		a->sent += (size_t)n;
	}
	return 0;
}

static size_t stream_length(const struct dns_ask *a)
{
	return (size_t)(a->in.data[0] << 8 | a->in.data[1]);
}

/* Return: 1, a whole message is there; 0, not yet; -errno, it will not come. */
static int stream_recv(struct dns_ask *a)
{
	for (;;) {
		ssize_t n = sock_recv(a->fd, a->desk->buffer, DNS_BUFFER_BYTES);
		int r;

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n ? (int)n : -EPIPE;
		r = buf_append(&a->in, span_of(a->desk->buffer, (size_t)n),
			       LENGTH_BYTES + UINT16_MAX);
		if (r < 0)
			return r;
		if (a->in.len >= LENGTH_BYTES && a->in.len >= LENGTH_BYTES + stream_length(a))
			return 1;
	}
}

static void stream_on_ready(struct dns_ask *a)
{
	int r = stream_send(a);
	size_t len;

	if (!r)
		r = stream_recv(a);
	if (r == 1) {
		len = stream_length(a);
		memcpy(a->desk->buffer, a->in.data + LENGTH_BYTES, len);
		if (!ask_take(a, a->desk->buffer, len))
			ask_next(a);
	} else if (r < 0) {
		ask_next(a);
	}
}

static void ask_on_ready(struct watch *w, uint32_t ready)
{
	struct dns_ask *a = container_of(w, struct dns_ask, watch);

	(void)ready; /* the socket's own calls say the same, and why */
	if (a->by_tcp)
		stream_on_ready(a);
	else
		datagram_on_ready(a);
}

static void ask_on_timer(struct timer *t)
{
	ask_next(container_of(t, struct dns_ask, timer));
}

struct dns_ask *dns_ask_new(struct dns_desk *d, struct span query, const struct dns_message *m)
{
	struct dns_ask *a;

	if (d->n_asks >= d->worker->realm->snapshot->limits.lookups || query.len > UINT16_MAX)
		return NULL;
	a = malloc(sizeof(*a) + LENGTH_BYTES + query.len);
	if (!a)
		return NULL;
	*a = (struct dns_ask){ .desk = d, .fd = -1, .query = *m };
	a->watch.on_ready = ask_on_ready;
	timer_init(&a->timer, ask_on_timer);
	list_init(&a->stream_link);
	a->n_bytes = LENGTH_BYTES + query.len;
	a->bytes[0] = (uint8_t)(query.len >> 8);
	a->bytes[1] = (uint8_t)query.len;
	memcpy(a->bytes + LENGTH_BYTES, query.data, query.len);
	list_add_tail(&d->asks, &a->link);
	d->n_asks++;
	return a;
}

void dns_ask_free(struct dns_ask *a)
{
	ask_close(a);
	list_del(&a->link);
	list_del(&a->stream_link);
	a->desk->n_asks--;
	free(a);
}

void dns_ask_begin(struct dns_ask *a)
{
	if (a->desk->worker->realm->snapshot->resolver.rotate)
		a->first = a->desk->next_server++;
	ask_next(a);
}
