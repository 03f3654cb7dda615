/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams: the client's side, and what the origin does with one.
 *
 * Each flow is a socket of its own, a closed loop with a number of datagrams on their way: one
 * (echo), or a window of trains.  Trains leave by UDP_SEGMENT and are read by UDP_GRO, as QUIC
 * programs do; who expects single datagrams reads them singly, however they were sent.  Down, each
 * request is answered by a train; up, each train by the number of datagrams that came.  What does
 * not come within LOSS_NS is counted as an error, and the flow goes on.  Behind a SOCKS5 proxy each
 * flow has an association of its own, made in advance.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

#define LOSS_NS 300000000
#define WINDOW (8 * TRAIN_DATAGRAMS)
#define BUFFER_BYTES (4 << 20)
#define HEAD_MAX 22			/* of SOCKS5, in front of each datagram */

struct flow {
	int fd, control;
	uint64_t number, began_ns, moved_ns;
	unsigned int under_way;
	uint8_t head[HEAD_MAX];
	size_t head_bytes;
};

struct flows {
	const struct task *task;
	struct tally tally;
	int epoll;
	struct flow *flow;
	uint64_t started, requests;
	uint8_t out[TRAIN_DATAGRAMS * TRAIN_BYTES];
};

void datagram_options(int fd, bool trains)
{
	const int bytes = BUFFER_BYTES, one = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (trains)
		setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)); /* the origin's */
}

union control {
	char bytes[128];
	struct cmsghdr align;
};

static void control_add(struct msghdr *m, union control *room, int level, int type,
			const void *value, size_t bytes)
{
	struct cmsghdr *c = (struct cmsghdr *)(room->bytes + m->msg_controllen);

	m->msg_control = room->bytes;
	m->msg_controllen += CMSG_SPACE(bytes);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(c), value, bytes);
}

static void control_train(struct msghdr *m, union control *room)
{
	uint16_t size = TRAIN_BYTES;

	control_add(m, room, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
}

/* ---- origin ---- */

/* To which of our addresses it came: the answer leaves from there. */
static struct in6_pktinfo arrived_at(struct msghdr *m)
{
	struct in6_pktinfo info = { 0 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			memcpy(&info, CMSG_DATA(c), sizeof(info));
	info.ipi6_ifindex = 0;
	return info;
}

void datagram_serve(int fd, enum app app)
{
	static uint8_t text[65536], train[TRAIN_DATAGRAMS * TRAIN_BYTES];
	struct sockaddr_storage from;
	union control room;
	uint64_t came;

	for (int i = 0; i < 64; i++) {
		struct iovec iov = { text, sizeof(text) };
		struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from),
				    .msg_iov = &iov, .msg_iovlen = 1,
				    .msg_control = room.bytes,
				    .msg_controllen = sizeof(room.bytes) };
		ssize_t n = recvmsg(fd, &m, 0);
		struct in6_pktinfo info;

		if (n < 0)
			return;
		info = arrived_at(&m);
		m.msg_controllen = 0;
		control_add(&m, &room, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
		came = (uint64_t)(n + TRAIN_BYTES - 1) / TRAIN_BYTES;
		iov.iov_len = (size_t)n;
		if (app == APP_TRAIN) {
			iov = (struct iovec){ train, sizeof(train) };
			control_train(&m, &room);
		} else if (app == APP_SINK) {
			iov = (struct iovec){ &came, sizeof(came) };
		}
		sendmsg(fd, &m, 0);
	}
}

/* ---- client ---- */

static int ask(int fd, const void *bytes, size_t len, uint8_t *answer, size_t want)
{
	if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len ||
	    recv(fd, answer, want, MSG_WAITALL) != (ssize_t)want)
		return -EIO;
	return answer[0] == 5 && answer[1] == 0 ? 0 : -EPROTO;
}

/* UDP ASSOCIATE; where its datagrams are to go is put into *ret. */
static int associate(const struct flows *s, struct flow *f, const struct sockaddr_storage *from,
		     struct sockaddr_storage *ret)
{
	const struct task *t = s->task;
	struct sockaddr_storage nobody = { .ss_family = t->to.ss_family };
	bool four = t->to.ss_family == AF_INET;
	uint8_t text[HEAD_MAX] = { 5, 3, 0 }, answer[HEAD_MAX];

	f->control = socket(t->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->control < 0 ||
	    (from->ss_family &&
	     bind(f->control, (const struct sockaddr *)from, t->addr_len) < 0) ||
	    connect(f->control, (const struct sockaddr *)&t->proxy, t->addr_len) < 0 ||
	    ask(f->control, (uint8_t[]){ 5, 1, 0 }, 3, answer, 2) < 0 ||
	    ask(f->control, text, 3 + socks_address(text + 3, &nobody), answer,
		four ? 10 : 22) < 0)
		return -EPROTO;
	*ret = t->proxy;
	if (four)
		memcpy(&((struct sockaddr_in *)ret)->sin_port, answer + 8, 2);
	else
		memcpy(&((struct sockaddr_in6 *)ret)->sin6_port, answer + 20, 2);
	return 0;
}

static void flow_start(struct flows *s, struct flow *f)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = f };
	struct sockaddr_storage to, from, peer;
	const struct task *t = s->task;

	task_addresses(t, s->started++, &to, &from);
	peer = to;
	f->control = -1;
	if (t->via == VIA_SOCKS5) {
		if (associate(s, f, &from, &peer) < 0)
			die("UDP ASSOCIATE");
		f->head_bytes = 3 + socks_address(f->head + 3, &to);
	}
	f->fd = socket(to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		die("socket");
	if (t->app != APP_UDP)
		datagram_options(f->fd, t->app == APP_TRAIN);
	if ((from.ss_family && bind(f->fd, (struct sockaddr *)&from, t->addr_len) < 0) ||
	    connect(f->fd, (struct sockaddr *)&peer, t->addr_len) < 0)
		die("connect");
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, f->fd, &ev) < 0)
		die("epoll_ctl");
	f->under_way = 0;
	f->began_ns = f->moved_ns = now_ns();
}

static void flow_stop(struct flow *f)
{
	close(f->fd);
	if (f->control >= 0)
		close(f->control);
}

/* Fill the window. */
static void flow_send(struct flows *s, struct flow *f)
{
	size_t bytes = s->task->app == APP_SINK ? sizeof(s->out) : s->task->size_bytes;
	unsigned int each = s->task->app == APP_UDP ? 1 : TRAIN_DATAGRAMS;
	unsigned int most = s->task->app == APP_UDP ? 1 : WINDOW;

	while (f->under_way + each <= most) {
		struct iovec iov[2] = { { f->head, f->head_bytes }, { s->out, bytes } };
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
		union control room;

		f->number = ++s->requests;
		memcpy(s->out, &f->number, sizeof(f->number));
		f->under_way += each;
		if (s->task->app == APP_SINK)
			control_train(&m, &room);
		if (sendmsg(f->fd, &m, 0) < 0) {
			tally_error(&s->tally, "send", errno);
			return;		/* and tried again when it counts as lost */
		}
	}
}

static void flow_again(struct flows *s, struct flow *f)
{
	f->began_ns = f->moved_ns = now_ns();
	if (s->task->close_each) {
		flow_stop(f);
		flow_start(s, f);
	}
	flow_send(s, f);
}

/* Datagrams that have come, by what one read has brought; 0: none that were waited for. */
static unsigned int flow_came(const struct flows *s, const struct flow *f, const uint8_t *text,
			      size_t bytes)
{
	uint64_t number;

	switch (s->task->app) {
	case APP_TRAIN:
		return (unsigned int)((bytes + TRAIN_BYTES - 1) / TRAIN_BYTES);
	case APP_SINK:
	case APP_UDP:
		if (bytes < f->head_bytes + sizeof(number))
			return 0;
		memcpy(&number, text + f->head_bytes, sizeof(number));
		if (s->task->app == APP_SINK)
			return number <= WINDOW ? (unsigned int)number : 0;
		return number == f->number && bytes == f->head_bytes + s->task->size_bytes;
	case APP_ECHO:
	case APP_HELLO:
	case APP_DOWN:
	case APP_UP:
	case APP_BOTH:
	case APP_HTTP:
		break;
	}
	return 0;
}

static void flow_read(struct flows *s, struct flow *f)
{
	static uint8_t text[65536];
	ssize_t n = recv(f->fd, text, sizeof(text), 0);
	unsigned int came;

	if (n < 0) {
		if (errno == EAGAIN)
			return;
		tally_error(&s->tally, "answer", errno);	/* refused */
		f->under_way = 0;
		flow_again(s, f);
		return;
	}
	came = flow_came(s, f, text, (size_t)n);
	if (came == 0)
		return;
	s->tally.units += came;
	f->moved_ns = now_ns();
	f->under_way -= came < f->under_way ? came : f->under_way;
	if (s->task->app == APP_UDP) {
		hist_add(&s->tally.latency, f->moved_ns - f->began_ns);
		flow_again(s, f);
	} else {
		flow_send(s, f);
	}
}

static void flows_scan(struct flows *s)
{
	uint64_t now = now_ns();

	for (unsigned int i = 0; i < s->task->conns; i++) {
		struct flow *f = &s->flow[i];

		if (now < f->moved_ns + LOSS_NS)
			continue;
		s->tally.stuck += f->under_way;
		tally_error(&s->tally, "no answer", ETIMEDOUT);
		f->under_way = 0;
		flow_again(s, f);
	}
}

void datagram_measure(const struct task *task)
{
	struct flows *s = calloc(1, sizeof(*s));
	uint64_t scan = 0;
	struct window w;

	if (!s)
		die("calloc");
	s->task = task;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->flow = calloc(task->conns, sizeof(*s->flow));
	if (!s->flow || s->epoll < 0)
		die("start");
	for (unsigned int i = 0; i < task->conns; i++)
		flow_start(s, &s->flow[i]);
	window_begin(&w, task);
	for (unsigned int i = 0; i < task->conns; i++)
		flow_send(s, &s->flow[i]);
	while (window_open(&w, task, &s->tally)) {
		struct epoll_event ev[256];
		int n = epoll_wait(s->epoll, ev, 256, 20);

		for (int i = 0; i < n; i++)
			flow_read(s, ev[i].data.ptr);
		if (w.now_ns > scan + 50000000) {
			flows_scan(s);
			scan = w.now_ns;
		}
	}
	window_print(&w, task, &s->tally);
	free(s->flow);
	free(s);
}
