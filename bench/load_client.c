/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client: a closed loop over a number of connections, measured over a window.
 *
 *	start → CONNECT → (echo) REPLY → done: next request, or close and start again
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
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
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

#define SIZE_MAX_BYTES 16384
#define PATIENCE_S 5			/* without progress for so long: counted and begun again */
#define HOLD_OPENING 64			/* --hold: how many may be on their way at a time */

enum step { STEP_OFF, STEP_CONNECT, STEP_REPLY, STEP_STREAM, STEP_HELD };

struct conn {
	int fd;
	enum step step;
	size_t got_bytes;
	uint64_t began_ns, moved_ns;
	uint64_t number; /* of the request: the first bytes of it, checked in the reply */
	off_t at;
};

struct client {
	enum app app;
	struct sockaddr_storage to, from;
	socklen_t addr_len;
	unsigned int ports, froms, conns, hold;
	size_t size_bytes, reply_bytes, number_at;
	uint8_t hello[HELLO_BYTES];
	bool close_each, measuring, stopping;
	uint64_t count;
	double warm_s, time_s, rate, patience_s;
	char *cpu[CPU_MAX];
	size_t cpus;

	int epoll, payload;
	struct conn *conn;
	uint64_t started, due, offered, units, bytes, errors, stuck, requests;
	unsigned int *spare, spares;	/* --rate: those in STEP_OFF */
	unsigned int held, opening;
	struct hist latency;
	char error[128];
};

/* It will be begun again: by client_scan, a little later, or by client_offer. */
static void conn_off(struct client *c, struct conn *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	n->step = STEP_OFF;
	if (c->rate > 0)
		c->spare[c->spares++] = (unsigned int)(n - c->conn);
}

static void conn_fail(struct client *c, struct conn *n, const char *what, int error)
{
	if (c->errors++ == 0)
		snprintf(c->error, sizeof(c->error), "%s: %s", what, strerror(error));
	conn_off(c, n);
	if (c->hold)
		c->opening--;
}

static void addr_spread(struct sockaddr_storage *ss, unsigned int host, unsigned int port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	if (ss->ss_family == AF_INET) {
		in->sin_addr.s_addr = htonl(ntohl(in->sin_addr.s_addr) + host);
		in->sin_port = htons((uint16_t)(ntohs(in->sin_port) + port));
	} else {
		in6->sin6_addr.s6_addr[15] = (uint8_t)(in6->sin6_addr.s6_addr[15] + host);
		in6->sin6_port = htons((uint16_t)(ntohs(in6->sin6_port) + port));
	}
}

static void conn_request(struct client *c, struct conn *n)
{
	char text[SIZE_MAX_BYTES];

	n->number = ++c->requests;
	if (c->app == APP_HELLO)
		memcpy(text, c->hello, HELLO_BYTES);
	else
		memset(text, (int)(n->number & 0xff), c->size_bytes);
	memcpy(text + c->number_at, &n->number, sizeof(n->number));
	n->got_bytes = 0;
	n->step = STEP_REPLY;
	if (send(n->fd, text, c->size_bytes, MSG_NOSIGNAL) != (ssize_t)c->size_bytes)
		conn_fail(c, n, "send", errno);
}

/* A budget ends each turn of a stream, so streams are level-triggered; an echo is not in need. */
static uint32_t conn_events(enum app app)
{
	switch (app) {
	case APP_ECHO:
	case APP_HELLO:
		return EPOLLIN | EPOLLOUT | EPOLLET;
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
	struct epoll_event ev = { .events = conn_events(c->app), .data.ptr = n };
	struct sockaddr_storage to = c->to, from = c->from;
	const int one = 1;

	if (c->stopping || (c->count && c->started >= c->count))
		return;
	addr_spread(&to, 0, (unsigned int)(c->started / c->froms % c->ports));
	addr_spread(&from, (unsigned int)(c->started % c->froms), 0);
	c->started++;
	if (c->hold)
		c->opening++;
	n->step = STEP_CONNECT;
	n->at = 0;
	n->began_ns = n->moved_ns = now_ns();
	n->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		die("socket");
	setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(n->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (from.ss_family && bind(n->fd, (struct sockaddr *)&from, c->addr_len) < 0)
		die("bind");
	if (connect(n->fd, (struct sockaddr *)&to, c->addr_len) < 0 && errno != EINPROGRESS) {
		conn_fail(c, n, "connect", errno);
		return;
	}
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, n->fd, &ev) < 0)
		die("epoll_ctl");
}

static void conn_connected(struct client *c, struct conn *n)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
		conn_fail(c, n, "connect", error);
		return;
	}
	if (c->app != APP_ECHO && c->app != APP_HELLO) {
		n->step = STEP_STREAM;
		return;
	}
	if (!c->close_each)
		n->began_ns = now_ns();
	conn_request(c, n);
}

static void conn_done(struct client *c, struct conn *n)
{
	uint64_t now = now_ns();

	c->units++;
	hist_add(&c->latency, now - n->began_ns);
	if (c->hold) {
		n->step = STEP_HELD;
		c->held++;
		c->opening--;
	} else if (c->close_each) {
		conn_off(c, n);
		if (c->rate <= 0)
			conn_start(c, n);
	} else {
		n->began_ns = n->moved_ns = now;
		conn_request(c, n);
	}
}

static void conn_reply(struct client *c, struct conn *n)
{
	char text[SIZE_MAX_BYTES];
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

static void conn_stream(struct client *c, struct conn *n)
{
	ssize_t in = 0, out = 0;

	if (c->app == APP_DOWN || c->app == APP_BOTH)
		in = bulk_discard(n->fd);
	if (c->app == APP_UP || c->app == APP_BOTH)
		out = bulk_send(n->fd, c->payload, &n->at);
	if (in < 0 || out < 0) {
		conn_fail(c, n, "stream", (int)-(in < 0 ? in : out));
		return;
	}
	if (in + out > 0)
		n->moved_ns = now_ns();
	c->bytes += (uint64_t)(in + out);
}

static void conn_drive(struct client *c, struct conn *n)
{
	if (n->step == STEP_CONNECT)
		conn_connected(c, n);
	if (n->step == STEP_REPLY)
		conn_reply(c, n);
	if (n->step == STEP_STREAM)
		conn_stream(c, n);
}

/* Begin (again) what has not begun, has failed or hangs. */
static void client_scan(struct client *c)
{
	uint64_t now = now_ns(), patience_ns = (uint64_t)(c->patience_s * 1e9);

	for (unsigned int i = 0; i < c->conns; i++) {
		struct conn *n = &c->conn[i];

		if (n->step == STEP_OFF) {
			if (c->rate <= 0 && (!c->hold || c->opening < HOLD_OPENING))
				conn_start(c, n);
		} else if (n->step != STEP_HELD && now > n->moved_ns + patience_ns) {
			c->stuck++;
			conn_fail(c, n, "stuck", ETIMEDOUT);
		}
	}
}

/* What is due by now; what finds no room was offered, too. */
static void client_offer(struct client *c, uint64_t since_ns)
{
	uint64_t due = (uint64_t)((double)(now_ns() - since_ns) / 1e9 * c->rate);

	for (; c->due < due; c->due++) {
		c->offered++;
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

static void client_print(struct client *c, const struct cpu *a, const struct cpu *b)
{
	double s = (double)(b->at_ns - a->at_ns) / 1e9;

	printf("{\"seconds\": %.4f, \"units\": %llu, \"offered\": %llu, \"bytes\": %llu, "
	       "\"errors\": %llu, "
	       "\"stuck\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": %.1f, \"busy_us\": %llu, \"error\": \"%s\", \"cpu_us\": [",
	       s, (unsigned long long)c->units, (unsigned long long)c->offered,
	       (unsigned long long)c->bytes, (unsigned long long)c->errors,
	       (unsigned long long)c->stuck,
	       hist_us(&c->latency, 0.5), hist_us(&c->latency, 0.99), hist_us(&c->latency, 0.999),
	       (double)c->latency.max_ns / 1000, (unsigned long long)(b->busy_us - a->busy_us),
	       c->error);
	for (size_t i = 0; i < c->cpus; i++)
		printf("%s%llu", i ? ", " : "",
		       (unsigned long long)(b->used_us[i] - a->used_us[i]));
	printf("]}\n");
	fflush(stdout);
}

static void client_measure(struct client *c)
{
	uint64_t start = now_ns(), scan = 0;
	uint64_t warm = start + (uint64_t)(c->warm_s * 1e9);
	uint64_t end = warm + (uint64_t)(c->time_s * 1e9);
	struct cpu a, b;

	cpu_read(&a, c->cpu, c->cpus);
	c->measuring = c->count > 0;
	for (;;) {
		uint64_t now = now_ns();

		if (now > scan + 50000000) {
			client_scan(c);
			scan = now;
		}
		if (!c->measuring && now >= warm) {
			cpu_read(&a, c->cpu, c->cpus);
			c->measuring = true;
			c->units = c->bytes = c->errors = c->stuck = c->offered = 0;
			hist_reset(&c->latency);
		}
		if (c->count ? c->units + c->errors >= c->count : now >= end)
			break;
		if (c->rate > 0)
			client_offer(c, start);
		client_turn(c, c->rate > 0 ? 1 : 20);
	}
	cpu_read(&b, c->cpu, c->cpus);
	c->stopping = true;
	client_print(c, &a, &b);
}

static void client_hold(struct client *c)
{
	unsigned int lost = 0;
	char byte;

	while (c->held < c->hold && c->errors < c->hold / 10 + 1) {
		client_scan(c);
		client_turn(c, 5);
	}
	printf("{\"held\": %u, \"errors\": %llu, \"error\": \"%s\"}\n", c->held,
	       (unsigned long long)c->errors, c->error);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	for (unsigned int i = 0; i < c->conns; i++) {
		struct conn *n = &c->conn[i];

		if (n->step == STEP_HELD &&
		    !(recv(n->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN))
			lost++;
		if (n->fd >= 0)
			close(n->fd);
	}
	printf("{\"lost\": %u}\n", lost);
}

static void addr_parse(struct client *c, struct sockaddr_storage *ret, const char *text, int port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		c->addr_len = sizeof(*in);
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		c->addr_len = sizeof(*in6);
	} else {
		errno = EINVAL;
		die(text);
	}
}

static const char usage[] =
	"usage: load client --to ADDR --port PORT [--ports N] [--from ADDR] [--froms N]\n"
	"  [--app echo|hello|down|up|both] [--name NAME] [--conns N] [--size BYTES] [--close]\n"
	"  [--rate N --patience S] [--warm S] [--time S] | [--count UNITS] | [--hold N]   [--cpu FILE]…\n";

static void client_options(struct client *c, int argc, char **argv)
{
	static const struct option options[] = {
		{ "to", 1, NULL, 't' }, { "port", 1, NULL, 'p' }, { "ports", 1, NULL, 'P' },
		{ "from", 1, NULL, 'f' }, { "froms", 1, NULL, 'F' }, { "app", 1, NULL, 'a' },
		{ "conns", 1, NULL, 'c' }, { "size", 1, NULL, 's' }, { "close", 0, NULL, 'x' },
		{ "warm", 1, NULL, 'w' }, { "time", 1, NULL, 'T' }, { "count", 1, NULL, 'n' },
		{ "hold", 1, NULL, 'h' }, { "cpu", 1, NULL, 'u' },
		{ "name", 1, NULL, 'N' }, { "rate", 1, NULL, 'r' }, { "patience", 1, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	const char *to = NULL, *from = NULL, *name = "www.example.org";
	int o, port = 0;
	bool good = true;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 't': to = optarg; break;
		case 'p': port = atoi(optarg); break;
		case 'P': c->ports = (unsigned int)atoi(optarg); break;
		case 'f': from = optarg; break;
		case 'F': c->froms = (unsigned int)atoi(optarg); break;
		case 'a': good &= app_parse(optarg, &c->app) == 0; break;
		case 'c': c->conns = (unsigned int)atoi(optarg); break;
		case 's': c->size_bytes = (size_t)atol(optarg); break;
		case 'x': c->close_each = true; break;
		case 'w': c->warm_s = atof(optarg); break;
		case 'T': c->time_s = atof(optarg); break;
		case 'n': c->count = (uint64_t)atoll(optarg); break;
		case 'N': name = optarg; break;
		case 'r': c->rate = atof(optarg); break;
		case 'e': c->patience_s = atof(optarg); break;
		case 'h': c->hold = (unsigned int)atoi(optarg); break;
		case 'u':
			good &= c->cpus < CPU_MAX;
			if (good)
				c->cpu[c->cpus++] = optarg;
			break;
		default: good = false; break;
		}
	}
	if (!good || !to || !port || !c->conns || !c->ports || !c->froms ||
	    c->size_bytes < sizeof(uint64_t) || c->size_bytes > SIZE_MAX_BYTES) {
		fputs(usage, stderr);
		exit(2);
	}
	c->reply_bytes = c->size_bytes;
	if (c->app == APP_HELLO) {
		hello_make(c->hello, name);
		c->size_bytes = HELLO_BYTES;
		c->reply_bytes = ANSWER_BYTES;
		c->number_at = HELLO_RANDOM_AT;
	}
	addr_parse(c, &c->to, to, port);
	if (from)
		addr_parse(c, &c->from, from, 0);
}

int load_client(int argc, char **argv)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		die("calloc");
	c->ports = c->froms = c->conns = 1;
	c->size_bytes = 64;
	c->time_s = 1;
	c->patience_s = PATIENCE_S;
	client_options(c, argc, argv);
	if (c->hold)
		c->conns = c->hold;
	c->conn = calloc(c->conns, sizeof(*c->conn));
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->spare = calloc(c->conns, sizeof(*c->spare));
	if (!c->conn || !c->spare || c->epoll < 0)
		die("start");
	for (unsigned int i = 0; i < c->conns; i++) {
		c->conn[i].fd = -1;
		c->spare[c->spares++] = i;
	}
	c->payload = payload_open();
	signal(SIGPIPE, SIG_IGN);
	if (c->hold)
		client_hold(c);
	else
		client_measure(c);
	free(c->spare);
	free(c->conn);
	free(c);
	return 0;
}
