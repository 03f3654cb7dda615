/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that are relayed, through a whole worker: bulk with every way to move it, layers pushed
 * in the middle of it, ends in every order, limits.
 */
#include "flow_fixture.h"

static void bulk_through(struct rig *r, uint64_t n_up, uint64_t n_down)
{
	int c = dial(&r->listener.address), s = take_connection(r->server_fd);
	struct mover client = { .fd = c, .n_send = n_up, .n_receive = n_down };
	struct mover server = { .fd = s, .n_send = n_down, .n_receive = n_up };
	unsigned int n = rig_n_ended(r);
	struct ended e;

	bulk_run(&client, &server);
	e = rig_wait_ended(r, n + 1);
	assert_int_equal(e.why, WHY_FINISHED);
	assert_int_equal(e.up_bytes, n_up);
	assert_int_equal(e.down_bytes, n_down);
	assert_true(e.announced);
	close(c);
	close(s);
}

static void test_bulk(void **state)
{
	static const uint64_t sizes[][2] = {
		{ 0, 0 }, { 1, 0 }, { 0, 1 }, { 70000, 70000 }, { 24u << 20, 24u << 20 },
		{ 16u << 20, 0 }, { 0, 16u << 20 },
	};

	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct rig r;

		rig_init(&r);
		r.rules[0].plan.offload = (enum offload)o;
		rig_start(&r);
		for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
			bulk_through(&r, sizes[i][0], sizes[i][1]);
		if (o != OFFLOAD_AUTO) /* that depends on how fast this machine is just now */
			assert_int_equal(r.ended[4].spliced, o == OFFLOAD_SPLICE);
		rig_stop(&r);
	}
}

/* ---- the upgrade edge ---- */

#define LAYER_BYTES 5000
#define UPGRADE_EVERY_BYTES (3u << 20)
#define UPGRADES_MAX 6

/* A layer that changes nothing but keeps bytes back both ways, as TLS does. */
struct thin {
	struct stream s;
	uint8_t in[LAYER_BYTES], out[LAYER_BYTES];
	size_t in_at, in_len, out_len;
};

static ssize_t layer_read(struct stream *s, uint8_t *dst, size_t cap_bytes)
{
	struct thin *l = container_of(s, struct thin, s);
	size_t n;

	if (l->in_at == l->in_len) {
		ssize_t r = stream_read(s->below, l->in, sizeof(l->in));

		if (r <= 0)
			return r;
		l->in_at = 0;
		l->in_len = (size_t)r;
	}
	n = l->in_len - l->in_at;
	n = n < cap_bytes ? n : cap_bytes;
	memcpy(dst, l->in + l->in_at, n);
	l->in_at += n;
	return (ssize_t)n;
}

static bool layer_ready(const struct stream *s)
{
	const struct thin *l = container_of(s, const struct thin, s);

	return l->in_at < l->in_len || (s->below->ops->ready && s->below->ops->ready(s->below));
}

static int layer_flush(struct stream *s)
{
	struct thin *l = container_of(s, struct thin, s);

	while (l->out_len) {
		ssize_t n = s->end->writable ? stream_write(s->below, l->out, l->out_len) : -EAGAIN;

		if (n < 0)
			return (int)n;
		l->out_len -= (size_t)n;
		memmove(l->out, l->out + n, l->out_len);
	}
	return stream_flush(s->below);
}

static ssize_t layer_write(struct stream *s, const uint8_t *src, size_t len_bytes)
{
	struct thin *l = container_of(s, struct thin, s);
	size_t room;

	if (l->out_len == sizeof(l->out)) {
		int r = layer_flush(s);

		if (l->out_len == sizeof(l->out))
			return r;
	}
	room = sizeof(l->out) - l->out_len;
	room = room < len_bytes ? room : len_bytes;
	memcpy(l->out + l->out_len, src, room);
	l->out_len += room;
	return (ssize_t)room;
}

static int layer_finish(struct stream *s)
{
	return stream_finish(s->below);
}

static void layer_close(struct stream *s, bool orderly)
{
	struct thin *l = container_of(s, struct thin, s);

	if (orderly)
		assert_int_equal(l->out_len, 0);
	free(l);
}

static const struct stream_ops layer_ops = {
	.name = "layer",
	.read = layer_read,
	.write = layer_write,
	.flush = layer_flush,
	.finish = layer_finish,
	.close = layer_close,
	.ready = layer_ready,
};

static void push_layer(struct end *e)
{
	struct thin *l = calloc(1, sizeof(*l));

	l->s.ops = &layer_ops;
	end_push(e, &l->s);
}

static unsigned int count_layers(const struct end *e)
{
	unsigned int n = 0;

	for (const struct stream *s = e->top; s; s = s->below)
		n++;
	return n;
}

static void apply_layers(struct flow *f)
{
	assert_true(lane_is_drained(&f->up) && lane_is_drained(&f->down));
	assert_false(f->up.pipe || f->down.pipe); /* nothing is left below the new layers */
	push_layer(&f->client);
	if (count_layers(&f->client) % 2)
		push_layer(&f->server);
}

/* The raw proto, with an upgrade every so many bytes. */
static void upgrading_relay(struct flow *f)
{
	unsigned int n = count_layers(&f->client) - 1;

	raw_proto_ops.relay(f);
	if (!flow_is_closed(f) && !f->upgrade && n < UPGRADES_MAX &&
	    f->up.bytes + f->down.bytes > (uint64_t)(n + 1) * UPGRADE_EVERY_BYTES)
		flow_upgrade(f, apply_layers);
}

static void upgrading_open(struct flow *f)
{
	raw_proto_ops.open(f);
}

static void upgrading_timeout(struct flow *f)
{
	raw_proto_ops.timeout(f);
}

static const struct proto_ops upgrading_proto_ops = {
	.name = "upgrading",
	.open = upgrading_open,
	.relay = upgrading_relay,
	.timeout = upgrading_timeout,
};

static void test_upgrade_in_the_middle(void **state)
{
	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct rig r;

		rig_init(&r);
		r.rules[0].plan.offload = (enum offload)o;
		r.realm.parts.proto = &upgrading_proto_ops;
		rig_start(&r);
		bulk_through(&r, 24u << 20, 24u << 20);
		bulk_through(&r, 30u << 20, 0);
		bulk_through(&r, 100, 30u << 20); /* the up lane has long ended */
		rig_stop(&r);
	}
}

/* ---- how flows end ---- */

static void test_half_close_each_way(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	for (unsigned int i = 0; i < 2; i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);
		int first = i ? s : c, second = i ? c : s;

		say(first, "question");
		shutdown(first, SHUT_WR);
		hear(second, "question");
		hear_fin(second);
		assert_false(is_readable(first, 50)); /* the other way goes on */
		say(second, "answer");
		hear(first, "answer");
		nap_ms(20);
		say(second, ", late");
		shutdown(second, SHUT_WR);
		hear(first, ", late");
		hear_fin(first);
		rig_expect(&r, i + 1, WHY_FINISHED);
		close(c);
		close(s);
	}
	rig_stop(&r);
}

/* What came before the reset is delivered, then the reset. */
static void test_reset_after_bytes(void **state)
{
	static const size_t sizes[] = { 0, 1, 100000, 400000 };
	unsigned int n_ended = 0;
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);
		int first = i % 2 ? s : c, second = i % 2 ? c : s;
		size_t n = sizes[i / 2];

		say(second, "x"); /* the proxy has both */
		hear(first, "x");
		say_bytes(first, pattern(), n);
		while (sock_unsent_bytes(first) > 0) /* all of it is with the proxy or behind it */
			nap_ms(1);
		hang_up_with_reset(first);
		if (n)
			hear_bytes(second, pattern(), n);
		assert_int_equal(hear_reset(second), 0);
		rig_expect(&r, ++n_ended, i % 2 ? WHY_SERVER_RESET : WHY_CLIENT_RESET);
		close(second);
	}
	rig_stop(&r);
}

/* A server that says its piece and resets before the worker has even seen it connected. */
static void test_reset_at_once_after_a_greeting(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	for (unsigned int i = 0; i < 30; i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);

		say(s, "busy");
		hang_up_with_reset(s);
		hear(c, "busy");
		assert_int_equal(hear_reset(c), 0);
		rig_expect(&r, i + 1, WHY_SERVER_RESET);
		close(c);
	}
	rig_stop(&r);
}

/* The reset finds bytes that limpid itself has not read yet, or the other end is full. */
static void test_reset_with_a_slow_receiver(void **state)
{
	struct rig r;

	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct mover m;
		size_t sent = 0;
		int c, s;

		rig_init(&r);
		r.rules[0].plan.offload = (enum offload)o;
		rig_start(&r);
		c = dial(&r.listener.address);
		s = take_connection(r.server_fd);
		m = (struct mover){ .fd = s, .n_send = UINT64_MAX };
		for (unsigned int idle = 0; idle < 20; idle++) { /* until nothing goes any more */
			size_t before = m.sent;

			mover_send(&m);
			if (m.sent != before)
				idle = 0;
			else
				nap_ms(5);
		}
		sent = m.sent;
		hang_up_with_reset(s);
		m = (struct mover){ .fd = c };
		for (;;) { /* a prefix, in order, then RST and never FIN */
			char probe;

			assert_true(is_readable(c, WAIT_MS));
			if (recv(c, &probe, 1, MSG_PEEK) < 0)
				break;
			mover_receive(&m);
			assert_false(m.ended);
		}
		assert_int_equal(errno, ECONNRESET);
		assert_true(m.received <= sent && m.received > 100000);
		rig_expect(&r, 1, WHY_SERVER_RESET);
		close(c);
		rig_stop(&r);
	}
}

/* A client that stops reading stops the server, and keeps little of anybody's memory. */
static void test_slow_reader_stops_the_sender(void **state)
{
	struct rig r;

	(void)state;
	for (unsigned int o = OFFLOAD_AUTO; o <= OFFLOAD_SPLICE; o++) {
		struct mover client, server;
		int c, s;

		rig_init(&r);
		r.rules[0].plan.offload = (enum offload)o;
		rig_start(&r);
		c = dial(&r.listener.address);
		s = take_connection(r.server_fd);
		server = (struct mover){ .fd = s, .n_send = 64u << 20 };
		for (unsigned int idle = 0; idle < 20; idle++) {
			uint64_t before = server.sent;

			mover_send(&server);
			if (server.sent != before)
				idle = 0;
			else
				nap_ms(5);
		}
		assert_true(server.sent < 40u << 20);
		client = (struct mover){ .fd = c, .n_receive = 64u << 20 };
		bulk_run(&client, &server); /* and then all of it */
		rig_expect(&r, 1, WHY_FINISHED);
		close(c);
		close(s);
		rig_stop(&r);
	}
}

/* ---- limits ---- */

static void test_limit_of_flows_pauses_accepting(void **state)
{
	int c[12], s[12];
	struct rig r;

	(void)state;
	rig_init(&r);
	r.snapshot.limits.flows = 4;
	rig_start(&r);
	for (unsigned int i = 0; i < 12; i++)
		c[i] = dial(&r.listener.address); /* the backlog takes them all */
	for (unsigned int i = 0; i < 4; i++)
		s[i] = take_connection(r.server_fd);
	assert_false(is_readable(r.server_fd, 300));
	assert_int_equal(atomic_load(&r.realm.n_flows), 4);
	for (unsigned int i = 4; i < 12; i++) { /* one goes, one comes */
		close(c[i - 4]);
		close(s[i - 4]);
		s[i] = take_connection(r.server_fd);
	}
	for (unsigned int i = 8; i < 12; i++) {
		close(c[i]);
		close(s[i]);
	}
	rig_wait_ended(&r, 12);
	rig_stop(&r);
	assert_true(r.worker.stats.accept_pauses > 0);
	assert_int_equal(r.worker.stats.accepted, 12);
	assert_int_equal(r.worker.stats.ended[WHY_FINISHED], 12);
}

static void test_many_short_flows(void **state)
{
	unsigned int n = 500;
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	for (unsigned int i = 0; i < n; i++) {
		int c = dial(&r.listener.address), s = take_connection(r.server_fd);

		say(c, "ping");
		hear(s, "ping");
		say(s, "pong");
		close(s);
		hear(c, "pong");
		hear_fin(c);
		close(c);
	}
	rig_wait_ended(&r, n);
	rig_stop(&r);
	assert_int_equal(r.worker.stats.ended[WHY_FINISHED], n);
	assert_int_equal(r.worker.stats.bytes_up, 4 * n);
	assert_int_equal(r.worker.stats.bytes_down, 4 * n);
	assert_int_equal(r.n_decided, n);
}

static void test_drain(void **state)
{
	struct rig r;
	int c, s;

	(void)state;
	rig_init(&r);
	rig_start(&r);
	c = dial(&r.listener.address);
	s = take_connection(r.server_fd);
	worker_drain(&r.worker);
	nap_ms(50);
	say(c, "still here");
	hear(s, "still here");
	close(dial(&r.listener.address)); /* into the backlog, not accepted any more */
	nap_ms(50);
	close(c);
	close(s);
	pthread_join(r.thread, NULL); /* it stops by itself */
	assert_int_equal(r.worker.stats.accepted, 1);
	pthread_create(&r.thread, NULL, rig_main, &r.worker);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_upgrade_in_the_middle),
		cmocka_unit_test(test_half_close_each_way),
		cmocka_unit_test(test_reset_after_bytes),
		cmocka_unit_test(test_reset_at_once_after_a_greeting),
		cmocka_unit_test(test_reset_with_a_slow_receiver),
		cmocka_unit_test(test_slow_reader_stops_the_sender),
		cmocka_unit_test(test_limit_of_flows_pauses_accepting),
		cmocka_unit_test(test_many_short_flows),
		cmocka_unit_test(test_drain),
	};

	pattern();
	return cmocka_run_group_tests(tests, namespace_enter, NULL);
}
