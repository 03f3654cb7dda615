/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A port receives what clients send to anybody (the original destination
 * comes with each datagram).  A client's ip:port is a session; it has one unconnected socket
 * towards servers, so all servers see it at the same address (endpoint-independent mapping,
 * RFC 4787 REQ-1), and an entry for each destination, which policy has decided and which is
 * one flow in the records.  A session lives while it has entries; an entry lives until nothing
 * has passed for its idle time.  (A plan may ask for another source address; then the session
 * has one more socket.)
 *
 * Replies go to the client through one raw socket with the source that they really have: no
 * socket per destination, nothing to bind, nothing to collide.  Filtering is address-dependent
 * (RFC 4787 section 5): a server that the client has addressed may answer from any port, as
 * TFTP does, and the client sees that port; who was never addressed is a stray and not passed.
 *
 * Nothing fails silently.  What policy rejects, what exceeds a limit, and what the network
 * refuses (ICMP errors on the socket towards servers) comes back to the client as ICMP; denied
 * entries alone say nothing.  Deny, reject and refusals are remembered in an entry, too, so a
 * client that insists is decided and recorded once; such entries keep no descriptor.
 *
 * Sends never wait: what a full queue does not take is dropped and counted, as the network
 * would do.  Each event is good for a few batches, then others have their turn (the watches
 * are level-triggered, so the rest is not forgotten).
 *
 * Timers are lazy: a datagram only notes the time, and a timer that fires too early is set
 * again; it is moved at once only when the idle time itself changes.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/datagram_port.h"
#include "sys/sock.h"

#define BATCHES_PER_EVENT 4
#define REFUSALS_PER_SECOND 100
#define ICMP_PER_SECOND 1000 /* RFC 4443 section 2.4 (f): there is to be a limit */
#define DNS_PORT 53
#define QUIC_PORT 443

static uint64_t wall_clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- telling the client ---- */

static bool is_within(const struct datagram_port *p, struct datagram_rate *r, uint32_t per_second)
{
	uint64_t now_ms = loop_now_ms(p->loop);

	if (now_ms - r->since_ms >= 1000)
		*r = (struct datagram_rate){ .since_ms = now_ms };
	return r->n++ < per_second;
}

void datagram_tell_client(struct datagram_port *p, const struct udp_icmp *icmp)
{
	if (p->config.front) /* it would come from a server that the client does not know of */
		return;
	if (!is_within(p, &p->icmp, ICMP_PER_SECOND))
		return;
	if (udp_icmp_send(p->config.icmp_fd[datagram_family_index(&icmp->target)], icmp) > 0)
		p->stats.icmp_sent++;
}

void datagram_tell_sender(struct datagram_port *p, const struct udp_packet *packet,
			  enum udp_fault fault)
{
	const struct udp_outer *outer = packet->outer;
	struct udp_icmp icmp = { .fault = fault,
				 .client = outer ? outer->from : packet->from,
				 .target = packet->to,
				 .payload = packet->payload };

	if (outer)
		icmp.payload = span_of(outer->head.data, outer->head.len + packet->payload.len);
	datagram_tell_client(p, &icmp);
}

void datagram_refuse(struct datagram_port *p, const struct udp_packet *packet, enum why why)
{
	struct datagram_report report = {
		.client = packet->from,
		.target = packet->to,
		.listener = p->config.name,
		.verdict = VERDICT_REJECT,
		.why = why,
		.up = { .bytes = packet->payload.len, .datagrams = 1 },
	};

	p->stats.refused++;
	if (packet->to.family)
		datagram_tell_sender(p, packet, UDP_FAULT_PORT);
	if (!is_within(p, &p->refusals, REFUSALS_PER_SECOND))
		return;
	report.start_ms = report.end_ms = wall_clock_ms();
	p->config.ops->ended(p->config.owner, &report);
}

/* ---- the life of an entry ---- */

/* What ICMP says shortens nothing: RFC 4787 REQ-10. */
static uint32_t entry_idle_ms(const struct datagram_port *p, const struct datagram_entry *e)
{
	const struct datagram_times *idle = &p->config.idle;

	if (!e->upstream || e->report.why == WHY_LOOP)
		return idle->refused_ms;
	if (e->report.why == WHY_FINISHED)
		return idle->dns_answered_ms;
	if (e->report.target.port == DNS_PORT)
		return idle->dns_ms;
	return e->report.target.port == QUIC_PORT ? idle->quic_ms : idle->other_ms;
}

static void entry_rearm(struct datagram_port *p, struct datagram_entry *e)
{
	timer_set(&p->loop->timers, &e->timer, entry_idle_ms(p, e));
}

/* Note what it would mean if nothing came any more. */
void datagram_entry_expect(struct datagram_port *p, struct datagram_entry *e, enum why why)
{
	if (e->report.why == why)
		return;
	e->report.why = why;
	entry_rearm(p, e);
}

static void session_drop_if_empty(struct datagram_port *p, struct datagram_session *s)
{
	if (s->n_entries)
		return;
	for (int i = 0; i < DATAGRAM_UPSTREAMS; i++)
		datagram_upstream_close(p, &s->upstream[i]);
	datagram_session_free(&p->table, s);
	p->stats.sessions--;
}

static void entry_end(struct datagram_port *p, struct datagram_entry *e, enum why why)
{
	struct datagram_session *s = e->session;

	e->report.why = why;
	e->report.end_ms = e->report.start_ms + (e->last_ms - e->start_loop_ms);
	timer_cancel(&p->loop->timers, &e->timer);
	datagram_between_close(p, e);
	datagram_upstream_disown(p, e);
	p->config.ops->ended(p->config.owner, &e->report);
	datagram_entry_free(&p->table, e);
	p->stats.entries--;
	session_drop_if_empty(p, s);
}

static void entry_on_timer(struct timer *t)
{
	struct datagram_entry *e = container_of(t, struct datagram_entry, timer);
	struct datagram_port *p = e->session->port;
	uint64_t quiet_ms = loop_now_ms(p->loop) - e->last_ms;
	uint32_t idle_ms = entry_idle_ms(p, e);

	if (quiet_ms < idle_ms)
		timer_set(&p->loop->timers, t, idle_ms - quiet_ms);
	else
		entry_end(p, e, e->report.why);
}

/* ---- from clients ---- */

/* What policy says about a new entry; @e->upstream and @e->report say it afterwards. */
static void entry_decide(struct datagram_port *p, struct datagram_entry *e,
			 const struct udp_packet *first)
{
	struct facts facts = {
		.network = NETWORK_UDP,
		.listener = p->config.listener,
		.inside = p->config.inside,
		.settled = true,
		.client = first->from,
		.target = first->to,
	};
	struct decision d = { 0 };
	int r = datagram_header_note(first, &facts);

	if (!r)
		p->config.ops->decide(p->config.owner, &facts, udp_packet_segment(first, 0).payload,
				      &d);
	e->report.protocol = facts.protocol;
	e->report.host = TAKE_PTR(facts.host);
	e->report.learnt_name = TAKE_PTR(facts.learnt_name);
	e->report.proxy = TAKE_PTR(facts.proxy);
	facts_done(&facts);
	e->report.rule = d.rule;
	e->report.verdict = d.final ? d.verdict : VERDICT_DENY;
	switch (e->report.verdict) {
	case VERDICT_DENY:
		e->report.why = WHY_DENIED;
		return;
	case VERDICT_REJECT:
		e->report.why = WHY_REJECTED;
		return;
	case VERDICT_ACCEPT:
		r = datagram_upstream_get(p, e, &d.plan);
		break;
	}
	if (r == -EOPNOTSUPP) {
		e->report.why = WHY_PROXY_REFUSED;
	} else if (!r) {
		e->report.why = WHY_IDLE;
	} else if (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS || r == -ENOSPC) {
		e->report.why = WHY_LIMIT;
	} else {
		e->report.why = d.plan.strict ? WHY_SOURCE : WHY_INTERNAL;
	}
}

/* By the rules, so that the next datagram has no more luck, and is told the same. */
static bool is_refused(const struct datagram_entry *e)
{
	return e->report.verdict == VERDICT_REJECT || e->report.why == WHY_PROXY_REFUSED;
}

static void entry_evict(struct datagram_port *p, struct datagram_entry *e)
{
	entry_end(p, e, e->report.why == WHY_IDLE ? WHY_EVICTED : e->report.why);
}

/* At a limit, the session unused for longest makes room, unless it may still be in use. */
static void make_room(struct datagram_port *p, const struct addr *client)
{
	struct datagram_session *s = datagram_session_victim(
		&p->table, client, loop_now_ms(p->loop), &p->config.idle);

	if (!s)
		return;
	p->stats.evicted++;
	for (uint32_t n = s->n_entries; n; n--)
		entry_evict(p, list_entry(s->entries[list_empty(&s->entries[0])].next,
					  struct datagram_entry, link));
}

/* The same for a client of many servers. */
static void make_room_in(struct datagram_port *p, struct datagram_session *s)
{
	struct datagram_entry *e =
		datagram_entry_victim(&p->table, s, loop_now_ms(p->loop), &p->config.idle);

	if (e)
		entry_evict(p, e);
}

static int session_get(struct datagram_port *p, const struct udp_packet *packet,
		       struct datagram_session **ret)
{
	const struct addr *client = &packet->from;
	int r;

	*ret = datagram_session_find(&p->table, client, packet->outer);
	if (*ret)
		return 0;
	if (datagram_is_own(p, packet))
		return -ELOOP;
	make_room(p, client);
	r = datagram_session_new(&p->table, client, packet->outer, ret);
	if (r < 0)
		return r;
	(*ret)->port = p;
	p->stats.sessions++;
	p->stats.sessions_total++;
	return 0;
}

/* The entry of a client's datagram, made and decided if new; NULL: refused, and said so. */
static struct datagram_entry *entry_get(struct datagram_port *p, const struct udp_packet *packet)
{
	struct datagram_session *s;
	struct datagram_entry *e;
	int r = session_get(p, packet, &s);

	if (!r) {
		e = datagram_entry_find(&p->table, s, &packet->to);
		if (e)
			return e;
		make_room_in(p, s);
		r = datagram_entry_new(&p->table, s, &packet->to, &e);
		if (r < 0)
			session_drop_if_empty(p, s);
	}
	if (r < 0) {
		datagram_refuse(p, packet, r == -ELOOP ? WHY_LOOP : WHY_LIMIT);
		return NULL;
	}
	p->stats.entries++;
	e->by_loopback = packet->by_loopback;
	timer_init(&e->timer, entry_on_timer);
	e->report.listener = p->config.name;
	e->report.start_ms = wall_clock_ms();
	e->start_loop_ms = e->last_ms = loop_now_ms(p->loop);
	entry_decide(p, e, packet);
	if (e->report.verdict == VERDICT_ACCEPT && !e->upstream && !is_refused(e)) {
		e->report.up.dropped++;
		p->stats.up_dropped++;
		datagram_tell_sender(p, packet, UDP_FAULT_PORT);
		entry_end(p, e, e->report.why); /* the next datagram may have more luck */
		return NULL;
	}
	entry_rearm(p, e);
	return e;
}

/* Whose owner hears what name servers are asked. */
static void overhear(struct datagram_port *p, struct datagram_entry *e,
		     const struct udp_packet *packet)
{
	if (packet->to.port != DNS_PORT || !p->config.ops->asked)
		return;
	for (size_t i = 0; i < udp_packet_count(packet); i++)
		p->config.ops->asked(p->config.owner, &e->questions,
				     udp_packet_segment(packet, i).payload);
}

/* Return: the entry through which to send @packet, or NULL: it is dealt with. */
static struct datagram_entry *route_packet(struct datagram_port *p, const struct udp_packet *packet)
{
	struct datagram_entry *e;

	if (!packet->to.family) {
		datagram_refuse(p, packet, WHY_NO_TARGET);
		return NULL;
	}
	if (datagram_is_for_us(p, &packet->to)) {
		datagram_refuse(p, packet, WHY_LOOP);
		return NULL;
	}
	e = entry_get(p, packet);
	if (!e)
		return NULL;
	if (datagram_goes_round(p, e, packet)) {
		p->stats.refused++;
		datagram_tell_sender(p, packet, UDP_FAULT_PORT);
		datagram_entry_expect(p, e, WHY_LOOP);
		return NULL;
	}
	datagram_entry_used(&p->table, e, loop_now_ms(p->loop), false);
	if (e->upstream) {
		overhear(p, e, packet);
		return e;
	}
	e->report.up.datagrams += udp_packet_count(packet);
	e->report.up.bytes += packet->payload.len;
	if (is_refused(e))
		datagram_tell_sender(p, packet, UDP_FAULT_PORT);
	return NULL;
}

void datagram_pass_up(struct datagram_port *p, const struct udp_packet *packets, unsigned int n)
{
	struct datagram_entry *route[UDP_BATCH], *entries[UDP_BATCH];
	const struct udp_packet *list[UDP_BATCH];

	/* An entry lives beyond this loop: what route_packet() ends is what it has just made. */
	for (unsigned int i = 0; i < n; i++)
		route[i] = route_packet(p, &packets[i]);
	for (unsigned int i = 0; i < n; i++) {
		struct datagram_upstream *u = route[i] ? route[i]->upstream : NULL;
		unsigned int n_list = 0;

		if (!u)
			continue;
		if (route[i]->tells) {
			datagram_send_told(p, &packets[i], route[i]);
			continue;
		}
		for (unsigned int k = i; k < n; k++) {
			if (!route[k] || route[k]->upstream != u || route[k]->tells)
				continue;
			list[n_list] = &packets[k];
			entries[n_list++] = route[k];
			route[k] = NULL;
		}
		datagram_send_up(p, u, list, entries, n_list);
	}
}

/* What of all that has come is to be passed on; the rest is dealt with. */
static unsigned int take(struct datagram_port *p, struct udp_packet *packets,
			 struct udp_outer *outers, unsigned int n)
{
	const struct datagram_front *front = p->config.front;
	unsigned int taken = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (p->config.header && !datagram_header_take(p, &packets[i], &outers[i]))
			continue;
		if (front && front->take && !front->take(p->config.owner, &packets[i]))
			continue;
		packets[taken++] = packets[i];
	}
	return taken;
}

void datagram_port_send(struct datagram_port *p, const struct udp_packet *packet)
{
	datagram_pass_up(p, packet, 1);
}

static void arrival_on_ready(struct watch *w, uint32_t ready)
{
	struct datagram_arrival *a = container_of(w, struct datagram_arrival, watch);
	struct udp_packet packets[UDP_BATCH];
	struct udp_outer outers[UDP_BATCH];

	if (ready & READY_ERR)
		sock_take_error(a->fd);
	for (int turn = 0; turn < BATCHES_PER_EVENT; turn++) {
		int n = udp_recv_batch(a->fd, a->port->batch, packets);
		unsigned int taken = n > 0 ? (unsigned int)n : 0;

		if (a->port->config.front || a->port->config.header)
			taken = take(a->port, packets, outers, taken);
		if (taken)
			datagram_pass_up(a->port, packets, taken);
		if (n < UDP_BATCH)
			return;
	}
}

/* ---- the port ---- */

static void or_default(uint32_t *value, uint32_t otherwise)
{
	if (!*value)
		*value = otherwise;
}

static void fill_defaults(struct datagram_config *c)
{
	or_default(&c->limits.sessions, 16384);
	or_default(&c->limits.sessions_per_client, 4096);
	or_default(&c->limits.entries_per_session, 1024);
	or_default(&c->idle.dns_ms, 10000);
	or_default(&c->idle.dns_answered_ms, 500);
	or_default(&c->idle.quic_ms, 30000);
	or_default(&c->idle.other_ms, 120000);
	or_default(&c->idle.evict_ms, 1000);
	or_default(&c->idle.evict_answered_ms, 100);
	or_default(&c->idle.refused_ms, 10000);
}

static int arrival_open(struct datagram_port *p, int index)
{
	struct datagram_arrival *a = &p->arrival[index];
	int r;

	*a = (struct datagram_arrival){ .port = p, .fd = p->config.listen_fd[index] };
	a->watch.on_ready = arrival_on_ready;
	if (a->fd < 0)
		return 0;
	if (p->config.front) {
		r = sock_local(a->fd, &a->address);
		return r < 0 ? r : loop_watch_level(p->loop, &a->watch, a->fd, false);
	}
	if (p->config.reply_fd[index] < 0 || p->config.icmp_fd[index] < 0)
		return -EINVAL;
	r = udp_adopt_listener(a->fd, index ? 6 : 4);
	if (!r)
		r = sock_local(a->fd, &a->address);
	if (r < 0)
		return r;
	udp_raw_adopt(p->config.reply_fd[index]);
	return loop_watch_level(p->loop, &a->watch, a->fd, false);
}

int datagram_port_new(struct loop *loop, const struct datagram_config *config,
		      struct datagram_port **ret)
{
	struct datagram_port *p = NEW0(struct datagram_port);
	int r = p ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	p->loop = loop;
	p->config = *config;
	fill_defaults(&p->config);
	datagram_table_init(&p->table, &p->config.limits);
	p->batch = config->batch ? config->batch : udp_batch_new();
	if (!p->batch)
		r = -ENOMEM;
	for (int i = 0; i < 2 && !r; i++)
		r = arrival_open(p, i);
	if (!r) {
		*ret = p;
		return 0;
	}
	for (int i = 0; i < 2; i++) /* the descriptors stay the caller's */
		if (p->arrival[i].fd >= 0 && p->arrival[i].port)
			loop_unwatch(loop, &p->arrival[i].watch, p->arrival[i].fd);
	if (p->batch != config->batch)
		udp_batch_free(p->batch);
	free(p);
	return r;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void datagram_port_free(struct datagram_port *p)
{
	datagram_port_end(p, WHY_SHUTDOWN);
}

void datagram_port_end(struct datagram_port *p, enum why why)
{
	struct map_node *n;

	if (!p)
		return;
	while ((n = map_any(&p->table.entries))) {
		struct datagram_entry *e = map_entry(n, struct datagram_entry, node);

		/* What had ended in all but time has its own reason. */
		entry_end(p, e, e->report.why == WHY_IDLE ? why : e->report.why);
	}
	datagram_table_done(&p->table);
	for (int i = 0; i < 2; i++) {
		loop_forget(p->loop, &p->arrival[i].watch);
		close_if_open(p->config.listen_fd[i]);
		close_if_open(p->config.reply_fd[i]);
		close_if_open(p->config.icmp_fd[i]);
	}
	if (p->batch != p->config.batch)
		udp_batch_free(p->batch);
	free(p);
}

const struct datagram_stats *datagram_port_stats(const struct datagram_port *p)
{
	return &p->stats;
}
