/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Replies usually go through one raw socket for all.  That cannot send a
 * train of datagrams in one call, so an entry whose server sends trains gets a socket of its own
 * between the server's address and the client: connected, so that TPROXY gives it this client's
 * datagrams to this server and nobody else's, and it is read like a listening socket.  Until it
 * is connected it would take those of other clients, too; whatever it is given is dealt with by
 * its own sender and the address it is bound to, so nothing goes astray.
 *
 * It may not be had (somebody on this host has that address and port; the client lives in
 * another namespace): then trains are taken apart.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/datagram_port.h"
#include "sys/sock.h"

#define BATCHES_PER_EVENT 4
#define BETWEEN_MAX 64

struct datagram_between {
	struct watch watch;
	struct datagram_port *port;
	struct addr target;
	int fd;
};

void datagram_between_close(struct datagram_port *p, struct datagram_entry *e)
{
	struct datagram_between *b = e->between;

	if (!b)
		return;
	loop_forget(p->loop, &b->watch);
	close(b->fd);
	free(b);
	e->between = NULL;
	p->n_between--;
}

static void between_on_ready(struct watch *w, uint32_t ready)
{
	struct datagram_between *b = container_of(w, struct datagram_between, watch);
	struct datagram_port *p = b->port;
	struct udp_packet packets[UDP_BATCH];
	struct addr target = b->target;
	int fd = b->fd;

	if (ready & READY_ERR) /* the client has closed: it will not ask again */
		sock_take_error(fd);
	for (int turn = 0; turn < BATCHES_PER_EVENT; turn++) {
		int n = udp_recv_batch(fd, p->batch, packets);

		for (int i = 0; i < n; i++)
			packets[i].to = target;
		if (n > 0)
			datagram_pass_up(p, packets, (unsigned int)n);
		if (n < UDP_BATCH)
			return;
	}
}

static int between_open(struct datagram_port *p, struct datagram_entry *e)
{
	struct datagram_between *b;
	int r;

	if (p->config.inside || p->n_between >= BETWEEN_MAX)
		return -ENOSPC;
	b = NEW0(struct datagram_between);
	if (!b)
		return -ENOMEM;
	b->port = p;
	b->target = e->report.target;
	b->watch.on_ready = between_on_ready;
	b->fd = udp_between(&e->report.target, &e->report.client, p->config.mark);
	r = b->fd < 0 ? b->fd : loop_watch_level(p->loop, &b->watch, b->fd, false);
	if (r < 0) {
		if (b->fd >= 0)
			close(b->fd);
		free(b);
		return r;
	}
	e->between = b;
	p->n_between++;
	return 0;
}

bool datagram_between_use(struct datagram_port *p, struct datagram_entry *e,
			  const struct udp_packet *packet)
{
	/* what comes through it is not looked at for a header */
	if (p->config.front || p->config.header || !addr_eq(&packet->from, &e->report.target))
		return false;
	if (e->between)
		return true;
	if (!packet->segment_bytes || e->no_between)
		return false;
	e->no_between = between_open(p, e) < 0;
	return !e->no_between;
}

int datagram_between_send(const struct datagram_entry *e, const struct udp_packet *const *list,
			  unsigned int n)
{
	struct udp_packet nameless[UDP_BATCH];
	const struct udp_packet *out[UDP_BATCH];
	int r;

	for (unsigned int i = 0; i < n; i++) {
		nameless[i] = *list[i];
		nameless[i].to = (struct addr){ 0 };
		out[i] = &nameless[i];
	}
	r = udp_send_batch(e->between->fd, out, n);
	if (r == -ECONNREFUSED) /* said of an earlier one */
		r = udp_send_batch(e->between->fd, out, n);
	return r;
}
