/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client: a closed loop over a number of connections, measured over a window.
 *
 *	start → CONNECT (→ VIA) → (echo) REPLY → done: next request, or close and start again
 *	                → (bulk) STREAM
 *
 * Before the window a warm-up runs; its units and latencies are dropped and processor time is read
 * at the window's two ends by this very process, so that time and work belong together.  A unit of
 * a short connection is connect, request, reply, close; its latency ends with the reply.
 *
 * --rate R is an open loop instead: R connections are begun each second whatever becomes of the
 * others, as long as fewer than --conns are open, and who has no reply after --patience gives up.
 *
 * --hold N opens N connections, makes one exchange on each, says so in one line, and keeps them
 * until standard input ends; then a second line says how many of them had been closed meanwhile.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define ANSWER_MAX_BYTES 4096		/* of HTTP, head and body */
#define HOLD_OPENING 64			/* --hold: how many may be on their way at a time */

enum step { STEP_OFF, STEP_CONNECT, STEP_VIA, STEP_REPLY, STEP_STREAM, STEP_HELD };

struct conn {
	int fd;
	enum step step;
	size_t got_bytes;
	uint64_t began_ns, moved_ns;
	uint64_t number; /* of the request: the first bytes of it, checked in the reply */
	struct sockaddr_storage to;
	struct tunnel tunnel;
	char *answer; /* APP_HTTP: as much of it as has come */
	off_t at;
};

struct client {
	struct task task;
	struct tally tally;
	size_t size_bytes, reply_bytes, number_at;
	char request[REQUEST_MAX_BYTES];
	bool stopping;

	int epoll, payload;
	struct conn *conn;
	uint64_t started, due, requests;
	unsigned int *spare, spares;	/* --rate: those in STEP_OFF */
	unsigned int held, opening;
};

/* It will be begun again: by client_scan, a little later, or by client_offer. */
static void conn_off(struct client *c, struct conn *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	n->step = STEP_OFF;
	if (c->task.rate > 0)
		c->spare[c->spares++] = (unsigned int)(n - c->conn);
}

static void conn_fail(struct client *c, struct conn *n, const char *what, int error)
{
	tally_error(&c->tally, what, error);
	conn_off(c, n);
	if (c->task.hold)
		c->opening--;
}

/* What every request is, but for its number. */
static void client_compose(struct client *c)
{
	char name[64], url[80] = "";

	c->size_bytes = c->reply_bytes = c->task.size_bytes;
	if (c->task.app == APP_HELLO) {
		hello_make((uint8_t *)c->request, c->task.name);
		c->size_bytes = HELLO_BYTES;
		c->reply_bytes = ANSWER_BYTES;
		c->number_at = HELLO_RANDOM_AT;
	} else if (c->task.app == APP_HTTP) {
		host_port(name, sizeof(name), &c->task.to);
		if (c->task.via)
			snprintf(url, sizeof(url), "http://%s", name);
		c->number_at = strlen("GET /") + strlen(url);
		c->size_bytes = (size_t)snprintf(c->request, sizeof(c->request),
						 "GET %s/%0*d HTTP/1.1\r\nHost: %s\r\n\r\n", url,
						 HTTP_NUMBER, 0, name);
	}
}

static void conn_request(struct client *c, struct conn *n)
{
	char digits[HTTP_NUMBER + 1];

	n->number = ++c->requests;
	if (c->task.app == APP_ECHO)
		memset(c->request, (int)(n->number & 0xff), c->size_bytes);
	if (c->task.app == APP_HTTP) {
		snprintf(digits, sizeof(digits), "%0*llx", HTTP_NUMBER,
			 (unsigned long long)n->number);
		memcpy(c->request + c->number_at, digits, HTTP_NUMBER);
	} else {
		memcpy(c->request + c->number_at, &n->number, sizeof(n->number));
	}
	n->got_bytes = 0;
	n->step = STEP_REPLY;
	if (send(n->fd, c->request, c->size_bytes, MSG_NOSIGNAL) != (ssize_t)c->size_bytes)
		conn_fail(c, n, "send", errno);
}

/* A budget ends each turn of a stream, so streams are level-triggered; an echo is not in need. */
static uint32_t conn_events(enum app app)
{
	switch (app) {
	case APP_ECHO:
	case APP_HELLO:
	case APP_HTTP:
		return EPOLLIN | EPOLLOUT | EPOLLET;
	case APP_UDP:
	case APP_TRAIN:
	case APP_SINK:
	case APP_DOWN:
		return EPOLLIN;
	case APP_UP:
		return EPOLLOUT;
	case APP_BOTH:
		return EPOLLIN | EPOLLOUT;
	}
	return 0;
}

static void conn_start(struct client *c, struct conn *n)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = n };
	struct sockaddr_storage from;
	const struct sockaddr_storage *peer = c->task.via ? &c->task.proxy : &n->to;
	const int one = 1;

	if (c->stopping || (c->task.count && c->started >= c->task.count))
		return;
	task_addresses(&c->task, c->started++, &n->to, &from);
	if (c->task.hold)
		c->opening++;
	n->step = STEP_CONNECT;
	n->at = 0;
	n->began_ns = n->moved_ns = now_ns();
	n->fd = socket(peer->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		die("socket");
	setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(n->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (from.ss_family && bind(n->fd, (struct sockaddr *)&from, c->task.addr_len) < 0)
		die("bind");
	if (connect(n->fd, (const struct sockaddr *)peer, c->task.addr_len) < 0 &&
	    errno != EINPROGRESS) {
		conn_fail(c, n, "connect", errno);
		return;
	}
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, n->fd, &ev) < 0)
		die("epoll_ctl");
}

/* The way to the origin is there. */
static void conn_open(struct client *c, struct conn *n)
{
	struct epoll_event ev = { .events = conn_events(c->task.app), .data.ptr = n };

	if (c->task.app != APP_ECHO && c->task.app != APP_HELLO && c->task.app != APP_HTTP) {
		n->step = STEP_STREAM;
		epoll_ctl(c->epoll, EPOLL_CTL_MOD, n->fd, &ev);
		return;
	}
	if (!c->task.close_each)
		n->began_ns = now_ns();
	conn_request(c, n);
}

static void conn_connected(struct client *c, struct conn *n)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
		conn_fail(c, n, "connect", error);
		return;
	}
	if (c->task.via == VIA_NONE || c->task.via == VIA_HTTP) {
		conn_open(c, n);
		return;
	}
	n->step = STEP_VIA;
	error = tunnel_begin(&n->tunnel, n->fd, c->task.via, &n->to);
	if (error < 0)
		conn_fail(c, n, "tunnel", -error);
}

static void conn_via(struct client *c, struct conn *n)
{
	int r = tunnel_go_on(&n->tunnel, n->fd, c->task.via, &n->to);

	if (r < 0)
		conn_fail(c, n, "tunnel", -r);
	else if (r > 0)
		conn_open(c, n);
}

static void conn_done(struct client *c, struct conn *n)
{
	uint64_t now = now_ns();

	c->tally.units++;
	hist_add(&c->tally.latency, now - n->began_ns);
	if (c->task.hold) {
		n->step = STEP_HELD;
		c->held++;
		c->opening--;
	} else if (c->task.close_each) {
		conn_off(c, n);
		if (c->task.rate <= 0)
			conn_start(c, n);
	} else {
		n->began_ns = n->moved_ns = now;
		conn_request(c, n);
	}
}

static void conn_reply(struct client *c, struct conn *n)
{
	char text[REQUEST_MAX_BYTES];
	ssize_t r = recv(n->fd, text, c->reply_bytes - n->got_bytes, 0);

	if (r < 0 && errno == EAGAIN)
		return;
	if (r <= 0) {
		conn_fail(c, n, "reply", r < 0 ? errno : EPIPE);
		return;
	}
	if (n->got_bytes == 0 &&
	    ((size_t)r < c->number_at + sizeof(n->number) ||
	     memcmp(text + c->number_at, &n->number, sizeof(n->number)) != 0)) {
		conn_fail(c, n, "reply is not the request", EBADMSG);
		return;
	}
	n->got_bytes += (size_t)r;
	if (n->got_bytes == c->reply_bytes)
		conn_done(c, n);
}

/* A status, a head, and a body that begins with the number asked for. */
static void conn_answer(struct client *c, struct conn *n)
{
	char digits[HTTP_NUMBER + 1];
	const char *body;
	ssize_t r = recv(n->fd, n->answer + n->got_bytes, ANSWER_MAX_BYTES - n->got_bytes, 0);

	if (r < 0 && errno == EAGAIN)
		return;
	if (r <= 0) {
		conn_fail(c, n, "answer", r < 0 ? errno : EPIPE);
		return;
	}
	n->got_bytes += (size_t)r;
	body = memmem(n->answer, n->got_bytes, "\r\n\r\n", 4);
	if (!body || (size_t)(body + 4 - n->answer) + HTTP_BODY_BYTES > n->got_bytes) {
		if (n->got_bytes == ANSWER_MAX_BYTES)
			conn_fail(c, n, "answer", EMSGSIZE);
		return;
	}
	snprintf(digits, sizeof(digits), "%0*llx", HTTP_NUMBER, (unsigned long long)n->number);
	if (memcmp(n->answer, "HTTP/1.1 200", 12) != 0 ||
	    memcmp(body + 4, digits, HTTP_NUMBER) != 0)
		conn_fail(c, n, "answer is not to the request", EBADMSG);
	else
		conn_done(c, n);
}

static void conn_stream(struct client *c, struct conn *n)
{
	ssize_t in = 0, out = 0;

	if (c->task.app == APP_DOWN || c->task.app == APP_BOTH)
		in = bulk_discard(n->fd);
	if (c->task.app == APP_UP || c->task.app == APP_BOTH)
		out = bulk_send(n->fd, c->payload, &n->at);
	if (in < 0 || out < 0) {
		conn_fail(c, n, "stream", (int)-(in < 0 ? in : out));
		return;
	}
	if (in + out > 0)
		n->moved_ns = now_ns();
	c->tally.bytes += (uint64_t)(in + out);
}

static void conn_drive(struct client *c, struct conn *n)
{
	if (n->step == STEP_CONNECT)
		conn_connected(c, n);
	if (n->step == STEP_VIA)
		conn_via(c, n);
	if (n->step == STEP_REPLY && c->task.app == APP_HTTP)
		conn_answer(c, n);
	else if (n->step == STEP_REPLY)
		conn_reply(c, n);
	if (n->step == STEP_STREAM)
		conn_stream(c, n);
}

/* Begin (again) what has not begun, has failed or hangs. */
static void client_scan(struct client *c)
{
	uint64_t now = now_ns(), patience_ns = (uint64_t)(c->task.patience_s * 1e9);

	for (unsigned int i = 0; i < c->task.conns; i++) {
		struct conn *n = &c->conn[i];

		if (n->step == STEP_OFF) {
			if (c->task.rate <= 0 && (!c->task.hold || c->opening < HOLD_OPENING))
				conn_start(c, n);
		} else if (n->step != STEP_HELD && now > n->moved_ns + patience_ns) {
			c->tally.stuck++;
			conn_fail(c, n, "stuck", ETIMEDOUT);
		}
	}
}

/* What is due by now; what finds no room was offered, too. */
static void client_offer(struct client *c, uint64_t since_ns)
{
	uint64_t due = (uint64_t)((double)(now_ns() - since_ns) / 1e9 * c->task.rate);

	for (; c->due < due; c->due++) {
		c->tally.offered++;
		if (c->spares > 0)
			conn_start(c, &c->conn[c->spare[--c->spares]]);
	}
}

static void client_turn(struct client *c, int wait_ms)
{
	struct epoll_event ev[256];
	int n = epoll_wait(c->epoll, ev, 256, wait_ms);

	for (int i = 0; i < n; i++)
		conn_drive(c, ev[i].data.ptr);
}

static void client_measure(struct client *c)
{
	uint64_t start = now_ns(), scan = 0;
	struct window w;

	window_begin(&w, &c->task);
	while (window_open(&w, &c->task, &c->tally)) {
		if (w.now_ns > scan + 50000000) {
			client_scan(c);
			scan = w.now_ns;
		}
		if (c->task.rate > 0)
			client_offer(c, start);
		client_turn(c, c->task.rate > 0 ? 1 : 20);
	}
	c->stopping = true;
	window_print(&w, &c->task, &c->tally);
}

static void client_hold(struct client *c)
{
	unsigned int lost = 0;
	char byte;

	while (c->held < c->task.hold && c->tally.errors < c->task.hold / 10 + 1) {
		client_scan(c);
		client_turn(c, 5);
	}
	printf("{\"held\": %u, \"errors\": %llu, \"error\": \"%s\"}\n", c->held,
	       (unsigned long long)c->tally.errors, c->tally.error);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	for (unsigned int i = 0; i < c->task.conns; i++) {
		struct conn *n = &c->conn[i];

		if (n->step == STEP_HELD &&
		    !(recv(n->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN))
			lost++;
		if (n->fd >= 0)
			close(n->fd);
	}
	printf("{\"lost\": %u}\n", lost);
}

int load_client(int argc, char **argv)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		die("calloc");
	task_parse(&c->task, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (app_is_datagram(c->task.app)) {
		datagram_measure(&c->task);
		free(c);
		return 0;
	}
	client_compose(c);
	if (c->task.hold)
		c->task.conns = c->task.hold;
	c->conn = calloc(c->task.conns, sizeof(*c->conn));
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->spare = calloc(c->task.conns, sizeof(*c->spare));
	if (!c->conn || !c->spare || c->epoll < 0)
		die("start");
	for (unsigned int i = 0; i < c->task.conns; i++) {
		c->conn[i].fd = -1;
		if (c->task.app == APP_HTTP)
			c->conn[i].answer = calloc(1, ANSWER_MAX_BYTES);
		c->spare[c->spares++] = i;
	}
	c->payload = payload_open();
	if (c->task.hold)
		client_hold(c);
	else
		client_measure(c);
	for (unsigned int i = 0; i < c->task.conns; i++)
		free(c->conn[i].answer);
	free(c->spare);
	free(c->conn);
	free(c);
	return 0;
}
