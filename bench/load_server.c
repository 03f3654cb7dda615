/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The origin.  Each argument is a service on a range of ports: `echo:7000-7015`, `down:7100-7100`.
 *
 * One level-triggered epoll.  An echo is answered from the stack and is expected to fit into the
 * socket's buffer, as ping-pong of small messages always does; one that does not is closed, and
 * the client counts the error.
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

struct end {
	int fd;
	enum app app;
	bool listens;
	off_t at;
};

struct server {
	int epoll, payload;
};

static void server_watch(struct server *s, struct end *e)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = e };

	if (!e->listens && (e->app == APP_DOWN || e->app == APP_BOTH))
		ev.events |= EPOLLOUT;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, e->fd, &ev) < 0)
		die("epoll_ctl");
}

static void end_close(struct end *e)
{
	close(e->fd);
	free(e);
}

static void server_accept(struct server *s, struct end *listener)
{
	const int one = 1;

	for (int i = 0; i < 64; i++) {
		struct end *e;
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		e = calloc(1, sizeof(*e));
		if (!e)
			die("calloc");
		e->fd = fd;
		e->app = listener->app;
		server_watch(s, e);
	}
}

/* Returns < 0 when the connection has ended. */
static int end_echo(struct end *e)
{
	char text[65536];
	ssize_t n = recv(e->fd, text, sizeof(text), 0);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	if (e->app == APP_HELLO && n > ANSWER_BYTES)
		n = ANSWER_BYTES;
	return send(e->fd, text, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -EIO;
}

/* A GET whose path is a number; the answer begins with it. */
static int end_answer(struct end *e)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n";
	char text[65536], answer[sizeof(head) - 1 + HTTP_BODY_BYTES];
	ssize_t n = recv(e->fd, text, sizeof(text), 0);
	const char *path;

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	path = memchr(text, '/', (size_t)n);
	if (!path || text + n - path < 1 + HTTP_NUMBER || memcmp(text + n - 4, "\r\n\r\n", 4) != 0)
		return -EPROTO;
	memset(answer, '.', sizeof(answer));
	memcpy(answer, head, sizeof(head) - 1);
	memcpy(answer + sizeof(head) - 1, path + 1, HTTP_NUMBER);
	return send(e->fd, answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer) ? 0 : -EIO;
}

static int end_serve(struct server *s, struct end *e, uint32_t events)
{
	ssize_t r = 0;

	if (e->app == APP_HTTP)
		return end_answer(e);
	if (e->app == APP_ECHO || e->app == APP_HELLO)
		return end_echo(e);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = bulk_discard(e->fd);
	if (r >= 0 && events & EPOLLOUT)
		r = bulk_send(e->fd, s->payload, &e->at);
	return r < 0 ? (int)r : 0;
}

static void server_listen(struct server *s, enum app app, unsigned int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct end *e = calloc(1, sizeof(*e));
	const int one = 1, zero = 0;

	if (!e)
		die("calloc");
	e->fd = socket(AF_INET6, (app_is_datagram(app) ? SOCK_DGRAM : SOCK_STREAM) |
				 SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	e->app = app;
	e->listens = true;
	if (e->fd < 0)
		die("socket");
	setsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(e->fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(e->fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		die("bind");
	if (app_is_datagram(app))
		datagram_options(e->fd, app == APP_SINK);
	else if (listen(e->fd, 4096) < 0)
		die("listen");
	server_watch(s, e);
}

static void server_service(struct server *s, const char *text)
{
	char name[16];
	unsigned int first, last;
	enum app app;

	if (sscanf(text, "%15[a-z]:%u-%u", name, &first, &last) != 3 || app_parse(name, &app) < 0) {
		errno = EINVAL;
		die(text);
	}
	for (unsigned int port = first; port <= last; port++)
		server_listen(s, app, port);
}

int load_server(int argc, char **argv)
{
	struct server s = { .epoll = epoll_create1(EPOLL_CLOEXEC), .payload = payload_open() };
	struct epoll_event ev[256];

	signal(SIGPIPE, SIG_IGN);
	if (s.epoll < 0)
		die("epoll_create1");
	for (int i = 1; i < argc; i++)
		server_service(&s, argv[i]);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(s.epoll, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			struct end *e = ev[i].data.ptr;

			if (app_is_datagram(e->app))
				datagram_serve(e->fd, e->app);
			else if (e->listens)
				server_accept(&s, e);
			else if (end_serve(&s, e, ev[i].events) < 0)
				end_close(e);
		}
	}
}
