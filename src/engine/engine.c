/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  The engine turns a configuration into a realm (what all workers share),
 * opens every listener before it starts anything, and runs one thread per worker.  Draining is
 * asked of all workers at once; each ends by itself when its last flow has, and whoever waits
 * looks at engine_is_idle() with a deadline of its own.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/names.h"
#include "core/own_ends.h"
#include "core/own_ports.h"
#include "core/users.h"
#include "core/via.h"
#include "core/worker.h"
#include "engine/datagrams.h"
#include "engine/dns_sockets.h"
#include "engine/engine.h"
#include "engine/knocks.h"
#include "engine/privileges.h"
#include "engine/registry.h"
#include "record/flows.h"
#include "record/writer.h"
#include "stream/tls_profile.h"
#include "sys/log.h"
#include "sys/netns.h"
#include "sys/sock.h"
#include "sys/socket_maker.h"

/* Descriptors that are neither a flow's nor a pipe's: per process and per worker. */
#define FDS_PROCESS 16
#define FDS_WORKER 4
#define HOST_SERVERS_MAX 3 /* resolv.conf(5) */
#define PIPES_MAX 64
#define FLOWS_MIN 8

struct engine {
	struct config *config;
	struct listener_config inside; /* of engine_adopt() */
	struct snapshot snapshot;
	struct realm realm;
	struct own_ends own_ends;   /* where realm.own_ends says so */
	struct own_ports own_ports; /* and realm.own_ports */
	struct worker *workers;
	struct flow_recorder *recorders;
	struct record_writer *writer;
	pthread_t *threads;
	const struct log *log;
	void (*idle)(void *owner);
	struct datagrams *datagrams;
	struct knocks *knocks;
	struct dns_sockets dns;
	unsigned int n_workers, n_started, n_inited;
	atomic_uint n_idle;
};

static struct listener *listener_add(struct engine *e, const struct listener_config *c,
				     uint16_t index, int fd)
{
	struct listener *l = &e->realm.listeners[e->realm.n_listeners++];

	*l = (struct listener){ .name = c->name, .index = index, .fd = fd };
	registry_set_learners(l, c);
	return l;
}

/* A host without IPv6 either knows no such sockets, or has not even the address of loopback. */
static bool is_without_ipv6(const struct addr *a, int r)
{
	static const struct addr loopback = { .family = 6, .ip[15] = 1 };

	return a->family == 6 &&
	       (r == -EAFNOSUPPORT ||
		(r == -EADDRNOTAVAIL && !memcmp(a->ip, loopback.ip, sizeof(a->ip))));
}

static void listen_failed(const struct engine *e, const struct listener_config *c,
			  const struct addr *a, int error)
{
	const struct listener l = { .name = c->name, .address = *a, .fd = -1 };

	if (e->realm.observer->listen_failed)
		e->realm.observer->listen_failed(&e->realm, &l, error);
}

static int open_listener(struct engine *e, uint16_t index, const struct addr *a, char *error,
			 size_t cap)
{
	const struct listener_config *c = &e->config->listeners[index];
	char text[ADDR_TEXT_MAX];
	int fd = sock_listen_tcp(a, c->mode == LISTENER_TPROXY, e->config->mark);

	if (is_without_ipv6(a, fd)) {
		log_line(LOG_WARNING, "listener '%s': not listening on %s: this host has no IPv6",
			 c->name, addr_format(a, text));
		return 0;
	}
	if (fd < 0) {
		listen_failed(e, c, a, fd);
		snprintf(error, cap, "listener '%s': cannot listen on %s: %s%s", c->name,
			 addr_format(a, text), strerror(-fd),
			 fd == -EPERM ? " (needs CAP_NET_ADMIN or CAP_NET_RAW)" : "");
		return fd;
	}
	listener_add(e, c, index, fd)->address = *a;
	return 0;
}

/* Only what the firewall turns round can come back, or what a header turns round. */
static void watch_own_ends(struct engine *e)
{
	bool needed = false, dns = false;

	for (size_t i = 0; i < e->config->n_listeners; i++) {
		enum listener_mode mode = e->config->listeners[i].mode;

		needed |= listener_mode_intercepts(mode) || mode == LISTENER_PROXY_PROTOCOL;
		dns |= mode == LISTENER_DNS;
	}
	if (needed || dns) {
		own_ports_init(&e->own_ports);
		e->realm.own_ports = &e->own_ports;
	}
	if (!needed)
		return;
	own_ends_init(&e->own_ends);
	e->realm.own_ends = &e->own_ends;
}

static size_t count_addresses(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_listeners; i++)
		n += c->listeners[i].n_addresses;
	return n;
}

static int open_datagrams(struct engine *e, uint16_t index, const struct addr *a, char *error,
			  size_t cap)
{
	const struct listener_config *c = &e->config->listeners[index];
	char text[ADDR_TEXT_MAX];
	const char *what;
	int r = datagrams_listen(e->datagrams, a, index, c, e->config->mark, &what);

	if (r < 0)
		snprintf(error, cap, "listener '%s': cannot open the %s socket for %s: %s%s",
			 c->name, what, addr_format(a, text), strerror(-r),
			 r == -EPERM ? " (needs CAP_NET_RAW)" : "");
	return r;
}

static int open_dns(struct engine *e, uint16_t index, const struct addr *a, char *error, size_t cap)
{
	const struct listener_config *c = &e->config->listeners[index];
	char text[ADDR_TEXT_MAX];
	int r = dns_sockets_listen(&e->dns, a, index, c, e->config->mark);

	if (r < 0)
		snprintf(error, cap, "listener '%s': cannot listen on %s by udp: %s", c->name,
			 addr_format(a, text), strerror(-r));
	return is_without_ipv6(a, r) ? 0 : r;
}

/* All that one listener listens for, on one of its addresses. */
static int open_address(struct engine *e, uint16_t index, const struct addr *a, char *error,
			size_t cap)
{
	uint32_t networks = e->config->listeners[index].networks;
	bool dns = e->config->listeners[index].mode == LISTENER_DNS;
	int r = 0;

	e->dns.wanted |= dns;

	if (networks & 1u << NETWORK_TCP)
		r = open_listener(e, index, a, error, cap);
	if (!r && networks & 1u << NETWORK_UDP)
		r = dns ? open_dns(e, index, a, error, cap)
			: open_datagrams(e, index, a, error, cap);
	return r;
}

/* The queue of an honest listener, whose sockets are open. */
static int open_queue(struct engine *e, uint16_t index, char *error, size_t cap)
{
	const struct listener_config *c = &e->config->listeners[index];
	int r = knocks_listen(e->knocks, c->queue, e->config->limits.held_syns, c->full_early,
			      e->config->mark);

	if (r < 0) {
		snprintf(error, cap, "listener '%s': connect: honest: cannot read queue %u: %s%s",
			 c->name, c->queue, strerror(-r),
			 r == -EPERM || r == -EBUSY
				 ? " (needs CAP_NET_ADMIN and CAP_NET_RAW, and a listeners.queue "
				   "that nobody else reads)"
				 : " (needs nfnetlink_queue in the kernel)");
		return r;
	}
	for (unsigned int i = 0; i < e->realm.n_listeners; i++)
		if (e->realm.listeners[i].index == index)
			knocks_lead_to(e->knocks, &e->realm.listeners[i],
				       e->realm.listeners[i].address.family);
	return 0;
}

/* While the keys can still be read. */
static int share_tls(struct engine *e, char *error, size_t cap)
{
	struct tls_fault fault = { .text = "out of memory" };
	int r = 0;

	for (size_t i = 0; i < e->config->n_tls && !r; i++) {
		r = tls_profile_share(e->config->tls[i].profile, e->n_workers, &fault);
		if (r < 0)
			snprintf(error, cap, "tls '%s': %s", e->config->tls[i].name, fault.text);
	}
	for (size_t i = 0; i < e->config->n_dialers && !r; i++) {
		const struct via *v = &e->config->dialers[i];

		if (v->tls.conf)
			r = tls_profile_share((struct tls_profile *)(uintptr_t)v->tls.conf,
					      e->n_workers, &fault);
		if (r < 0)
			snprintf(error, cap, "dialer '%s': %s", v->name, fault.text);
	}
	return r;
}

static int open_listeners(struct engine *e, char *error, size_t cap)
{
	const struct config *c = e->config;

	e->realm.listeners =
		calloc(count_addresses(c) + NETNS_FAMILIES, sizeof(*e->realm.listeners));
	e->datagrams = datagrams_new();
	e->knocks = knocks_new(c->n_listeners + 1);
	if (!e->realm.listeners || !e->datagrams || !e->knocks) {
		snprintf(error, cap, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t k = 0; k < c->listeners[i].n_addresses; k++) {
			int r = open_address(e, (uint16_t)i, &c->listeners[i].addresses[k], error,
					     cap);

			if (r < 0)
				return r;
		}
	for (size_t i = 0; i < c->n_listeners; i++) {
		int r = c->listeners[i].honest ? open_queue(e, (uint16_t)i, error, cap) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* A share of the descriptors for sessions of datagrams, one each; of each port. */
static size_t budget_sessions(struct engine *e, size_t fds)
{
	size_t n = datagrams_count(e->datagrams), share = n ? fds / 2 / n : 0;

	if (!n)
		return 0;
	if (!e->snapshot.limits.sessions || e->snapshot.limits.sessions > share)
		e->snapshot.limits.sessions = (uint32_t)share;
	return e->snapshot.limits.sessions * n;
}

/* What a worker's resolver may have open: UDP and TCP to each server. */
static size_t count_resolver_sockets(const struct config *c)
{
	size_t n = c->resolver.n_servers ? c->resolver.n_servers : HOST_SERVERS_MAX;

	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].to_name.name)
			return 2 * n;
	return 0;
}

/* What queries to DNS listeners may have open towards servers, one each. */
static size_t budget_queries(struct engine *e, size_t fds)
{
	size_t share = fds / 8 / e->n_workers;

	if (!e->dns.wanted)
		return 0;
	if (e->snapshot.limits.lookups > share)
		e->snapshot.limits.lookups = (uint32_t)share;
	return e->dns.n + e->snapshot.limits.lookups * e->n_workers;
}

/* What descriptors allow, shared between flows (two each) and pipes (two each). */
static void budget_descriptors(struct engine *e)
{
	size_t fds = sock_raise_descriptor_limit();
	size_t pipes = fds / 16 / e->n_workers;
	size_t taken = FDS_PROCESS + count_addresses(e->config) +
		       (FDS_WORKER + count_resolver_sockets(e->config)) * e->n_workers +
		       (e->realm.maker ? SOCKET_MAKER_FDS : 0) + knocks_descriptors(e->knocks);
	size_t flows;

	if (pipes > PIPES_MAX)
		pipes = PIPES_MAX;
	e->realm.pipes_per_worker = (unsigned int)pipes;
	taken += 2 * pipes * e->n_workers + budget_sessions(e, fds) + budget_queries(e, fds);
	flows = fds > taken + 2 * FLOWS_MIN ? (fds - taken) / 2 : FLOWS_MIN;
	if (!e->snapshot.limits.flows)
		e->snapshot.limits.flows = (uint32_t)flows;
	else if (e->snapshot.limits.flows > flows)
		log_line(LOG_WARNING,
			 "limits.flows is %u, but %zu descriptors allow for about %zu flows",
			 e->snapshot.limits.flows, fds, flows);
}

static int open_records(struct engine *e, const struct engine_options *o, char *error, size_t cap)
{
	const char *path = e->config->record_flows;
	int r = record_writer_new(path, e->n_workers, e->config->limits.record_queue_bytes,
				  o->record_delay_ms, &e->writer);

	if (r < 0) {
		snprintf(error, cap, "cannot write records to %s: %s", path ? path : "stderr",
			 strerror(-r));
		return r;
	}
	for (unsigned int i = 0; i < e->n_workers; i++)
		e->recorders[i] = (struct flow_recorder){
			.queue = record_writer_queue(e->writer, i),
			.text = !o->quiet && log_get_level() >= LOG_INFO,
			.json = record_writer_has_json(e->writer),
		};
	return 0;
}

int engine_new(struct config *config, const struct engine_options *options, struct engine **ret,
	       char *error, size_t error_cap_bytes)
{
	struct engine *e = NEW0(struct engine);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int r = -ENOMEM;

	snprintf(error, error_cap_bytes, "out of memory");
	if (!e)
		return -ENOMEM;
	e->config = config;
	privileges_fit(config);
	e->n_workers = config->limits.threads ? config->limits.threads
		       : cores > 0	      ? (unsigned int)cores
					      : 1;
	e->snapshot = (struct snapshot){ .policy = config->policy,
					 .timeouts = config->timeouts,
					 .limits = config->limits,
					 .resolver = config->resolver,
					 .mark = config->mark,
					 .inbound = config->firewall.inbound };
	e->realm.snapshot = &e->snapshot;
	e->realm.parts = registry_parts();
	e->realm.observer = options->observer ? options->observer : &flow_record_observer;
	e->realm.owner = options->owner;
	e->realm.interceptors = options->interceptors;
	e->realm.n_interceptors = options->n_interceptors;
	e->log = log_used();
	e->idle = options->idle;
	atomic_store(&e->realm.next_flow_id, 1);
	e->workers = calloc(e->n_workers, sizeof(*e->workers));
	e->realm.workers = e->workers;
	e->recorders = calloc(e->n_workers, sizeof(*e->recorders));
	e->threads = calloc(e->n_workers, sizeof(*e->threads));
	if (e->workers && e->recorders && e->threads)
		r = 0;
	if (!r)
		r = share_tls(e, error, error_cap_bytes);
	e->realm.names = names_new(config->limits.learnt_names);
	if (!e->realm.names)
		r = -ENOMEM;
	if (!r)
		r = open_listeners(e, error, error_cap_bytes);
	if (!r)
		r = open_records(e, options, error, error_cap_bytes);
	if (r < 0) {
		e->config = NULL; /* still the caller's */
		engine_free(e);
		return r;
	}
	watch_own_ends(e);
	*ret = e;
	return 0;
}

static void adopt_queue(struct engine *e, const struct netns_sockets *sockets)
{
	if (sockets->queue < 0)
		return;
	knocks_adopt(e->knocks, NETNS_QUEUE, sockets->queue, sockets->raw);
	for (unsigned int i = 0; i < e->realm.n_listeners; i++)
		if (e->realm.listeners[i].inside)
			knocks_lead_to(e->knocks, &e->realm.listeners[i],
				       e->realm.listeners[i].address.family);
}

int engine_adopt(struct engine *e, const struct netns_sockets *sockets)
{
	e->inside = (struct listener_config){
		.name = (char *)"run",
		.mode = LISTENER_TPROXY,
		.protocols = 1u << PROTOCOL_TLS | 1u << PROTOCOL_HTTP,
	};
	for (int i = 0; i < NETNS_FAMILIES; i++) {
		struct listener *l;
		int r;

		if (sockets->tcp[i] < 0)
			continue;
		r = sock_adopt_listener(sockets->tcp[i]);
		if (r < 0)
			return r;
		l = listener_add(e, &e->inside, (uint16_t)e->config->n_listeners, sockets->tcp[i]);
		l->inside = true;
		l->address.family = i == NETNS_V4 ? 4 : 6;
	}
	adopt_queue(e, sockets);
	return datagrams_adopt(e->datagrams, sockets, (uint16_t)e->config->n_listeners,
			       e->inside.name, e->config->mark);
}

int engine_become(struct engine *e, const char *user, char *error, size_t error_cap_bytes)
{
	return realm_become(&e->realm, e->config, user, error, error_cap_bytes);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct engine *e = container_of(w->realm, struct engine, realm);

	log_use(e->log);
	worker_run(w);
	datagrams_close(e->datagrams, w);
	dns_desk_close(w);
	if (atomic_fetch_add(&e->n_idle, 1) + 1 == e->n_workers && e->idle)
		e->idle(e->realm.owner);
	return NULL;
}

/* Passwords are checked beside the workers, if any listener asks for them. */
static int login_begin(struct engine *e)
{
	for (size_t i = 0; i < e->config->n_listeners; i++)
		if (e->config->listeners[i].users)
			return login_new(&e->realm.login);
	return 0;
}

int engine_start(struct engine *e)
{
	int r = record_writer_start(e->writer);

	if (r < 0)
		return r;
	r = login_begin(e);
	if (r < 0)
		return r;
	budget_descriptors(e);
	knocks_join(e->knocks, &e->realm);
	for (; e->n_inited < e->n_workers; e->n_inited++) {
		r = worker_init(&e->workers[e->n_inited], &e->realm, e->n_inited);
		if (r < 0)
			return r;
		e->workers[e->n_inited].record = &e->recorders[e->n_inited];
	}
	e->realm.n_workers = e->n_workers;
	for (unsigned int i = 0; i < e->n_workers && !r; i++)
		r = datagrams_open(e->datagrams, &e->workers[i]);
	for (unsigned int i = 0; i < e->n_workers && !r && e->dns.wanted; i++)
		r = dns_desk_open(&e->workers[i], e->dns.list, e->dns.n);
	if (r < 0)
		return r;
	for (; e->n_started < e->n_workers; e->n_started++) {
		r = -pthread_create(&e->threads[e->n_started], NULL, worker_main,
				    &e->workers[e->n_started]);
		if (r < 0)
			return r;
	}
	return 0;
}

void engine_look_again(struct engine *e)
{
	for (size_t i = 0; i < e->config->n_tls; i++)
		tls_profile_look_again(e->config->tls[i].profile);
	for (size_t i = 0; i < e->config->n_dialers; i++)
		if (e->config->dialers[i].tls.conf)
			tls_profile_look_again(
				(struct tls_profile *)(uintptr_t)e->config->dialers[i].tls.conf);
}

void engine_drain(struct engine *e)
{
	for (unsigned int i = 0; i < e->n_inited; i++)
		worker_drain(&e->workers[i]);
}

bool engine_is_idle(const struct engine *e)
{
	return atomic_load(&e->n_idle) == e->n_started;
}

uint64_t engine_moved(const struct engine *e)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < e->n_started; i++)
		n += atomic_load_explicit(&e->workers[i].moved, memory_order_relaxed);
	return n;
}

void engine_ask_stop(struct engine *e)
{
	for (unsigned int i = 0; i < e->n_inited; i++)
		loop_stop(&e->workers[i].loop);
}

void engine_stop(struct engine *e)
{
	engine_ask_stop(e);
	for (unsigned int i = 0; i < e->n_started; i++)
		pthread_join(e->threads[i], NULL);
	e->n_started = 0;
}

void engine_stats(const struct engine *e, struct stats *ret)
{
	*ret = (struct stats){ 0 };
	for (unsigned int i = 0; i < e->n_inited; i++)
		stats_add(ret, &e->workers[i].stats);
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	engine_stop(e);
	for (unsigned int i = 0; i < e->realm.n_workers; i++) { /* of workers that never ran */
		datagrams_close(e->datagrams, &e->workers[i]);
		dns_desk_close(&e->workers[i]);
	}
	for (unsigned int i = 0; i < e->n_inited; i++)
		worker_done(&e->workers[i]);
	for (unsigned int i = 0; i < e->realm.n_listeners; i++)
		close(e->realm.listeners[i].fd);
	login_free(e->realm.login);
	datagrams_free(e->datagrams);
	dns_sockets_done(&e->dns);
	names_free(e->realm.names);
	knocks_free(e->knocks);
	record_writer_free(e->writer);
	if (e->realm.own_ends)
		own_ends_done(e->realm.own_ends);
	if (e->realm.own_ports)
		own_ports_done(e->realm.own_ports);
	socket_maker_free(e->realm.maker);
	config_free(e->config);
	free(e->realm.listeners);
	free(e->workers);
	free(e->recorders);
	free(e->threads);
	free(e);
}

struct policy *policy_new_accept(const char *name)
{
	struct policy *p = NEW0(struct policy);

	if (!p)
		return NULL;
	p->rules = NEW0(struct rule);
	if (p->rules) {
		p->n_rules = 1;
		p->rules->name = strdup(name);
	}
	if (!p->rules || !p->rules->name) {
		policy_free(p);
		return NULL;
	}
	return p;
}
