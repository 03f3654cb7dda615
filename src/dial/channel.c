/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The only file that knows c-ares.  Its sockets are foreign: watched
 * level-triggered as it says, and they carry our mark, so that they do not come back to us.  It
 * calls back from within its own functions, where flows must not run (they might ask again, or
 * end); so a callback only takes note, and whoever asked is told (settled) once c-ares has
 * returned.
 *
 * A and AAAA are asked for by ares_query() and not by ares_getaddrinfo(): that would try the next
 * search domain for a family that the name does not have, and so mix two names.  Search domains
 * are for names without a dot.
 *
 * When resolv.conf changes, a new channel is made; the old one ends with its last question.
 */
#include <ares.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "core/worker.h"
#include "dial/channel.h"
#include "sys/log.h"
#include "sys/sock.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define LOOK_AT_FILE_MS 1000

#define CLASS_IN 1
#define TYPE_A 1
#define TYPE_AAAA 28

/* Larger answers are asked for again by TCP: what fits an unfragmented IPv6 packet. */
#define EDNS_BYTES 1232

struct channel {
	struct list link;
	struct channels *owner;
	ares_channel ares;
	unsigned int n_pending;
};

/* A socket of c-ares, watched. */
struct channel_socket {
	struct list link;
	struct watch watch;
	struct channel *channel;
	int fd;
};

static struct loop *loop_of(const struct channels *c)
{
	return &c->worker->loop;
}

static void channel_free(struct channel *ch)
{
	ares_destroy(ch->ares);
	list_del(&ch->link);
	free(ch);
}

/* c-ares has returned: what follows from what it did. */
static void settle(struct channels *c)
{
	struct list *i, *tmp;
	int wait_ms = -1;

	list_for_each(i, tmp, &c->list) {
		struct channel *ch = list_entry(i, struct channel, link);
		struct timeval tv;

		if (!ch->n_pending && ch->link.next != &c->list) {
			channel_free(ch);
		} else if (ch->n_pending && ares_timeout(ch->ares, NULL, &tv)) {
			int ms = (int)(tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000);

			wait_ms = wait_ms < 0 || ms < wait_ms ? ms : wait_ms;
		}
	}
	if (wait_ms < 0)
		timer_cancel(&loop_of(c)->timers, &c->timer);
	else
		timer_set(&loop_of(c)->timers, &c->timer, (uint64_t)wait_ms);
	c->settled(c);
}

static void on_timer(struct timer *t)
{
	struct channels *c = container_of(t, struct channels, timer);
	struct list *i, *tmp;

	list_for_each(i, tmp, &c->list)
		ares_process_fd(list_entry(i, struct channel, link)->ares, ARES_SOCKET_BAD,
				ARES_SOCKET_BAD);
	settle(c);
}

static void on_task(struct task *t)
{
	settle(container_of(t, struct channels, task));
}

static void socket_on_ready(struct watch *w, uint32_t ready)
{
	struct channel_socket *s = container_of(w, struct channel_socket, watch);
	struct channels *c = s->channel->owner;
	bool broken = ready & (READY_ERR | READY_HUP);

	ares_process_fd(s->channel->ares, ready & READY_IN || broken ? s->fd : ARES_SOCKET_BAD,
			ready & READY_OUT || broken ? s->fd : ARES_SOCKET_BAD);
	settle(c);
}

static struct channel_socket *socket_find(struct channel *ch, int fd)
{
	struct list *i, *tmp;

	list_for_each(i, tmp, &ch->owner->sockets) {
		struct channel_socket *s = list_entry(i, struct channel_socket, link);

		if (s->channel == ch && s->fd == fd)
			return s;
	}
	return NULL;
}

/* c-ares says what it waits for; nothing: the socket is about to be closed. */
static void socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct channel *ch = data;
	struct channel_socket *s = socket_find(ch, fd);

	if (!s && (readable || writable)) {
		s = NEW0(struct channel_socket);
		if (!s)
			return; /* its questions time out */
		s->watch.on_ready = socket_on_ready;
		s->channel = ch;
		s->fd = fd;
		list_add_tail(&ch->owner->sockets, &s->link);
	}
	if (!s)
		return;
	loop_watch_foreign(loop_of(ch->owner), &s->watch, fd, readable, writable);
	if (readable || writable)
		return;
	list_del(&s->link);
	free(s);
}

/* Where the mark is not permitted, nothing intercepts by it either. */
static int socket_made(ares_socket_t fd, int type, void *data)
{
	const struct channel *ch = data;

	(void)type;
	(void)sock_mark(fd, ch->owner->worker->realm->snapshot->mark);
	return 0;
}

static int set_servers(struct channel *ch, const struct resolver_settings *s)
{
	struct ares_addr_port_node *nodes = calloc(s->n_servers, sizeof(*nodes));
	int r;

	if (!nodes)
		return ARES_ENOMEM;
	for (size_t i = 0; i < s->n_servers; i++) {
		struct ares_addr_port_node *n = &nodes[i];

		n->next = i + 1 < s->n_servers ? n + 1 : NULL;
		n->family = s->servers[i].family == 4 ? AF_INET : AF_INET6;
		n->udp_port = n->tcp_port = s->servers[i].port;
		memcpy(&n->addr, s->servers[i].ip, addr_ip_len(&s->servers[i]));
	}
	r = ares_set_servers_ports(ch->ares, nodes);
	free(nodes);
	return r;
}

static struct channel *channel_new(struct channels *c)
{
	const struct resolver_settings *s = &c->worker->realm->snapshot->resolver;
	struct channel *ch = NEW0(struct channel);
	struct ares_options o = {
		.flags = ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
		.timeout = (int)s->timeout_ms,
		.tries = (int)s->attempts,
		.ednspsz = EDNS_BYTES,
		.lookups = (char *)"b",
		.sock_state_cb = socket_state,
		.sock_state_cb_data = ch,
	};
	int status;

	if (!ch)
		return NULL;
	list_init(&ch->link);
	ch->owner = c;
	status = ares_init_options(&ch->ares, &o,
				   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
					   ARES_OPT_EDNSPSZ | ARES_OPT_LOOKUPS |
					   ARES_OPT_SOCK_STATE_CB |
					   (s->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE));
	if (status == ARES_SUCCESS && s->n_servers) {
		status = set_servers(ch, s);
		if (status != ARES_SUCCESS)
			ares_destroy(ch->ares);
	}
	if (status != ARES_SUCCESS) {
		log_line(LOG_WARNING, "resolver: %s", ares_strerror(status));
		free(ch);
		return NULL;
	}
	ares_set_socket_configure_callback(ch->ares, socket_made, ch);
	list_add_tail(&c->list, &ch->link);
	return ch;
}

/* Has resolv.conf changed since the newest channel was made?  Asked once a second. */
static bool file_changed(struct channels *c)
{
	uint64_t now_ms = loop_now_ms(loop_of(c));
	struct stat st;

	if (c->worker->realm->snapshot->resolver.n_servers ||
	    now_ms < c->looked_at_file_ms + LOOK_AT_FILE_MS)
		return false;
	c->looked_at_file_ms = now_ms;
	if (stat(RESOLV_CONF, &st) < 0 ||
	    (st.st_mtim.tv_sec == c->file.st_mtim.tv_sec &&
	     st.st_mtim.tv_nsec == c->file.st_mtim.tv_nsec && st.st_ino == c->file.st_ino &&
	     st.st_size == c->file.st_size))
		return false;
	c->file = st;
	return true;
}

/* Whom to ask now.  NULL: nobody. */
static struct channel *channel_get(struct channels *c)
{
	bool changed = file_changed(c);
	struct channel *ch = NULL;

	if (list_empty(&c->list) || changed)
		ch = channel_new(c);
	if (!ch && !list_empty(&c->list))
		ch = list_entry(c->list.prev, struct channel, link);
	return ch;
}

/* ---- answers ---- */

static unsigned int take_v4(const unsigned char *bytes, int len, struct addr *ret,
			    uint32_t *ret_ttl_s)
{
	struct ares_addrttl found[ADDRESSES_MAX];
	int n = ADDRESSES_MAX;

	if (ares_parse_a_reply(bytes, len, NULL, found, &n) != ARES_SUCCESS)
		return 0;
	for (int i = 0; i < n; i++) {
		ret[i] = (struct addr){ .family = 4 };
		memcpy(ret[i].ip, &found[i].ipaddr, 4);
		if ((uint32_t)found[i].ttl < *ret_ttl_s)
			*ret_ttl_s = (uint32_t)found[i].ttl;
	}
	return (unsigned int)n;
}

static unsigned int take_v6(const unsigned char *bytes, int len, struct addr *ret,
			    uint32_t *ret_ttl_s)
{
	struct ares_addr6ttl found[ADDRESSES_MAX];
	int n = ADDRESSES_MAX;

	if (ares_parse_aaaa_reply(bytes, len, NULL, found, &n) != ARES_SUCCESS)
		return 0;
	for (int i = 0; i < n; i++) {
		ret[i] = (struct addr){ .family = 6 };
		memcpy(ret[i].ip, &found[i].ip6addr, 16);
		addr_unmap(&ret[i]); /* rules about IPv4 are to see it */
		if ((uint32_t)found[i].ttl < *ret_ttl_s)
			*ret_ttl_s = (uint32_t)found[i].ttl;
	}
	return (unsigned int)n;
}

static int error_of(int status)
{
	switch (status) {
	case ARES_SUCCESS: /* but nothing in it that we asked for */
	case ARES_ENODATA:
		return -ENODATA;
	case ARES_ENOTFOUND:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_ENOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
	struct question *q = arg;
	struct addr addrs[ADDRESSES_MAX];
	uint32_t ttl_s = UINT32_MAX;
	unsigned int n = 0;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		n = q->family == 4 ? take_v4(bytes, len, addrs, &ttl_s)
				   : take_v6(bytes, len, addrs, &ttl_s);
	q->channel->n_pending--;
	q->done(q, error_of(status), addrs, n, ttl_s);
}

int channels_ask(struct channels *c, const char *name, struct question *q)
{
	int type = q->family == 4 ? TYPE_A : TYPE_AAAA;

	q->channel = channel_get(c);
	if (!q->channel)
		return -EIO;
	q->channel->n_pending++;
	loop_defer(loop_of(c), &c->task); /* sets the timer; tells whom this may answer */
	if (strchr(name, '.'))
		ares_query(q->channel->ares, name, CLASS_IN, type, on_answer, q);
	else
		ares_search(q->channel->ares, name, CLASS_IN, type, on_answer, q);
	return 0;
}

void channels_init(struct channels *c, struct worker *w, void (*settled)(struct channels *c))
{
	*c = (struct channels){ .worker = w, .settled = settled };
	list_init(&c->list);
	list_init(&c->sockets);
	timer_init(&c->timer, on_timer);
	task_init(&c->task, on_task);
}

void channels_done(struct channels *c)
{
	while (!list_empty(&c->list))
		channel_free(list_entry(c->list.next, struct channel, link));
	timer_cancel(&loop_of(c)->timers, &c->timer);
	task_cancel(&c->task);
}
