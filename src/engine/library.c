/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A struct limpid collects: a configuration, listeners, interceptors,
 * events.  limpid_start() makes an engine of it, once; from then on nothing of it changes, so that
 * the threads read it without a lock.
 *
 * limpid_stop() may be called by a signal handler: it sets a flag and wakes the loops.  Either
 * limpid_start() sees the flag after it has said that the loops are there, or limpid_stop() sees
 * the loops.  Whoever waits is woken by the last thread that ends, whatever ended it: so stopping
 * and draining need not know whether anybody waits.
 *
 * Calls that may write a log line do so as the engine's own threads do: to its log (log_use()),
 * which is silent unless the embedder gave it a function.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "core/parts.h"
#include "engine/library.h"
#include "engine/names.h"

#define RECORD_DELAY_MS 50
#define NAME_MAX_BYTES 64

const char *limpid_version(void)
{
	return LIMPID_VERSION;
}

/* Note what is to be said about @r, which is returned. */
__attribute__((format(printf, 3, 4))) static int failed(struct limpid *l, int r, const char *fmt,
							...)
{
	va_list ap;

	free(l->error);
	va_start(ap, fmt);
	if (vasprintf(&l->error, fmt, ap) < 0)
		l->error = NULL;
	va_end(ap);
	return r;
}

const char *limpid_error(const struct limpid *limpid)
{
	return limpid->error ? limpid->error : "";
}

/* Take over what the caller's version of a struct has of ours.  False: it is no such struct. */
static bool copy_sized(void *to, size_t to_size, const void *from, size_t from_size)
{
	if (from_size < sizeof(size_t))
		return false;
	memset(to, 0, to_size);
	memcpy(to, from, from_size < to_size ? from_size : to_size);
	return true;
}

static void log_write(void *user, enum log_level level, const char *line)
{
	const struct limpid *l = user;

	if (l->log_write)
		l->log_write(l->log_user, (enum limpid_log_level)level, line);
}

static_assert((int)LIMPID_LOG_ERROR == LOG_ERROR && (int)LIMPID_LOG_WARNING == LOG_WARNING &&
		      (int)LIMPID_LOG_INFO == LOG_INFO && (int)LIMPID_LOG_DEBUG == LOG_DEBUG,
	      "the same levels");

int limpid_new(const struct limpid_options *options, struct limpid **ret)
{
	struct limpid *l;

	if (options && options->size < sizeof(options->size))
		return -EINVAL;
	l = NEW0(struct limpid);
	if (!l)
		return -ENOMEM;
	l->options.record_delay_ms = RECORD_DELAY_MS;
	if (options)
		copy_sized(&l->options, sizeof(l->options), options, options->size);
	l->log = (struct log){ .level = LOG_INFO, .write = log_write, .user = l };
	sem_init(&l->idle, 0, 0);
	l->config = config_new();
	if (!l->config) {
		limpid_free(l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

void limpid_free(struct limpid *limpid)
{
	const struct log *was;

	if (!limpid)
		return;
	was = log_use(&limpid->log);
	engine_free(limpid->engine);
	log_use(was);
	config_free(limpid->config);
	sem_destroy(&limpid->idle);
	free(limpid->interceptors);
	free(limpid->confs);
	free(limpid->error);
	free(limpid);
}

static int too_late(struct limpid *l)
{
	return failed(l, -EBUSY, "the engine has been started");
}

/* From @path, or from memory if that is NULL. */
static int configure(struct limpid *l, const char *path, const char *yaml, size_t len)
{
	_cleanup_free_ char *text = NULL;
	struct config *config;
	size_t text_len;
	FILE *errors;
	int r;

	if (l->engine)
		return too_late(l);
	if (l->configured || l->config->n_listeners)
		return failed(l, -EBUSY, "there is a configuration already");
	errors = open_memstream(&text, &text_len);
	if (!errors)
		return failed(l, -ENOMEM, "out of memory");
	if (path)
		r = config_load_part(path, false, errors, &config);
	else
		r = config_parse("(memory)", ".", yaml, len, false, errors, &config);
	fclose(errors);
	if (r < 0 && text && text_len && text[text_len - 1] == '\n')
		text[text_len - 1] = '\0';
	if (r < 0)
		return failed(l, r, "%s", text ? text : "out of memory");
	config_free(l->config);
	l->config = config;
	l->log.level = config->log;
	l->configured = true;
	return 0;
}

int limpid_configure_file(struct limpid *limpid, const char *path)
{
	return configure(limpid, path, NULL, 0);
}

int limpid_configure(struct limpid *limpid, const char *yaml, size_t len)
{
	return configure(limpid, NULL, yaml, len);
}

static int mode_of(enum limpid_mode mode, enum listener_mode *ret)
{
	switch (mode) {
	case LIMPID_TPROXY:
		*ret = LISTENER_TPROXY;
		return 0;
	case LIMPID_REDIRECT:
		*ret = LISTENER_REDIRECT;
		return 0;
	case LIMPID_FIXED:
		*ret = LISTENER_FIXED;
		return 0;
	}
	return -EINVAL;
}

static int plan_of(const struct limpid_listener *from, struct plan *ret)
{
	static const enum source sources[] = {
		[LIMPID_SOURCE_OWN] = SOURCE_OWN,
		[LIMPID_SOURCE_KEEP_ADDRESS] = SOURCE_KEEP_ADDRESS,
		[LIMPID_SOURCE_KEEP] = SOURCE_KEEP,
	};
	static const enum offload offloads[] = {
		[LIMPID_OFFLOAD_AUTO] = OFFLOAD_AUTO,
		[LIMPID_OFFLOAD_COPY] = OFFLOAD_COPY,
		[LIMPID_OFFLOAD_SPLICE] = OFFLOAD_SPLICE,
	};

	if ((unsigned int)from->source >= ARRAY_SIZE(sources) ||
	    (unsigned int)from->offload >= ARRAY_SIZE(offloads))
		return -EINVAL;
	*ret = (struct plan){ .source = sources[from->source],
			      .offload = offloads[from->offload],
			      .strict = from->strict };
	return 0;
}

/* The rule of listener @index, behind those there are. */
static int rule_add(struct policy *p, const char *name, uint16_t index, const struct plan *plan)
{
	struct rule *rules = reallocarray(p->rules, p->n_rules + 1, sizeof(*rules));
	struct rule *rule;

	if (!rules)
		return -ENOMEM;
	p->rules = rules;
	rule = &rules[p->n_rules];
	*rule = (struct rule){ .name = strdup(name), .verdict = VERDICT_ACCEPT, .plan = *plan };
	rule->match.listeners = malloc(sizeof(index));
	if (!rule->name || !rule->match.listeners) {
		rule_done(rule);
		return -ENOMEM;
	}
	rule->match.listeners[0] = index;
	rule->match.n_listeners = 1;
	p->n_rules++;
	return 0;
}

static void listener_done(struct listener_config *c)
{
	free(c->name);
	free(c->addresses);
	free(c->to_name.name);
}

/* @l's listeners, with one more place that is all zero. */
static struct listener_config *listener_place(struct config *c)
{
	struct listener_config *all = reallocarray(c->listeners, c->n_listeners + 1, sizeof(*all));

	if (!all)
		return NULL;
	c->listeners = all;
	memset(&all[c->n_listeners], 0, sizeof(*all));
	return &all[c->n_listeners];
}

/* As the schema wants names. */
static bool is_name(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_.";
	size_t n = strlen(s);

	return n && n <= NAME_MAX_BYTES && strspn(s, letters) == n;
}

static int listener_fill(struct limpid *l, const struct limpid_listener *from,
			 struct listener_config *c)
{
	c->networks = 1u << NETWORK_TCP;
	c->protocols = from->sniff ? 1u << PROTOCOL_TLS | 1u << PROTOCOL_HTTP : 0;
	if (from->name)
		c->name = strdup(from->name);
	else if (asprintf(&c->name, "%s-%zu", listener_mode_name(c->mode),
			  l->config->n_listeners + 1) < 0)
		c->name = NULL;
	c->addresses = NEW0(struct addr);
	if (!c->name || !c->addresses)
		return failed(l, -ENOMEM, "out of memory");
	if (!is_name(c->name))
		return failed(l, -EINVAL, "a listener's name is 1 to %d letters, digits, - _ .",
			      NAME_MAX_BYTES);
	if (!from->address || addr_parse(from->address, c->addresses) < 0)
		return failed(l, -EINVAL, "listener '%s': no address to listen on: '%s'", c->name,
			      from->address ? from->address : "");
	c->n_addresses = 1;
	if (c->mode == LISTENER_FIXED && target_parse(from->to ? from->to : "", c) < 0)
		return failed(l, -EINVAL, "listener '%s': no server: '%s'", c->name,
			      from->to ? from->to : "");
	for (size_t i = 0; i < l->config->n_listeners; i++)
		if (!strcmp(l->config->listeners[i].name, c->name))
			return failed(l, -EEXIST, "another listener is called '%s'", c->name);
	return 0;
}

int limpid_add_listener(struct limpid *limpid, const struct limpid_listener *listener)
{
	struct limpid_listener from;
	struct config *config = limpid->config;
	struct listener_config *c;
	enum listener_mode mode;
	struct plan plan;
	int r;

	if (limpid->engine)
		return too_late(limpid);
	if (!copy_sized(&from, sizeof(from), listener, listener->size) ||
	    mode_of(from.mode, &mode) < 0 || plan_of(&from, &plan) < 0)
		return failed(limpid, -EINVAL, "not a struct limpid_listener");
	if (config->n_listeners >= UINT16_MAX)
		return failed(limpid, -EINVAL, "too many listeners");
	c = listener_place(config);
	if (!c)
		return failed(limpid, -ENOMEM, "out of memory");
	c->mode = mode;
	r = listener_fill(limpid, &from, c);
	if (!r) {
		r = rule_add(config->policy, c->name, (uint16_t)config->n_listeners, &plan);
		if (r < 0)
			failed(limpid, r, "out of memory");
	}
	if (r < 0)
		listener_done(c);
	else
		config->n_listeners++;
	return r;
}

int limpid_add_interceptor(struct limpid *limpid, const struct limpid_interceptor *interceptor,
			   void *conf)
{
	struct interceptor_conf *confs;
	unsigned int n = limpid->n_interceptors;

	if (limpid->engine)
		return too_late(limpid);
	confs = reallocarray(limpid->confs, n + 1, sizeof(*confs));
	if (!confs)
		return failed(limpid, -ENOMEM, "out of memory");
	limpid->confs = confs;
	confs[n].conf = conf;
	if (!copy_sized(&confs[n].ops, sizeof(confs[n].ops), interceptor, interceptor->size) ||
	    !confs[n].ops.data)
		return failed(limpid, -EINVAL, "an interceptor without data()");
	limpid->n_interceptors++;
	return 0;
}

int limpid_set_log(struct limpid *limpid, limpid_log_fn *write, void *user)
{
	if (limpid->engine)
		return too_late(limpid);
	limpid->log_write = write;
	limpid->log_user = user;
	return 0;
}

void limpid_log_stderr(void *user, enum limpid_log_level level, const char *line)
{
	(void)user;
	(void)level;
	fprintf(stderr, "%s\n", line);
}

int limpid_set_events(struct limpid *limpid, const struct limpid_events *events, void *user)
{
	if (limpid->engine)
		return too_late(limpid);
	if (!copy_sized(&limpid->events, sizeof(limpid->events), events, events->size))
		return failed(limpid, -EINVAL, "not a struct limpid_events");
	limpid->events_user = user;
	return 0;
}

static void on_idle(void *owner)
{
	struct limpid *l = owner;

	sem_post(&l->idle);
}

/* The interceptors as the core wants them. */
static int interceptors_list(struct limpid *l)
{
	l->interceptors = calloc(l->n_interceptors + 1, sizeof(*l->interceptors));
	if (!l->interceptors)
		return -ENOMEM;
	for (unsigned int i = 0; i < l->n_interceptors; i++)
		l->interceptors[i] =
			(struct interceptor){ .open = interceptor_open, .conf = &l->confs[i] };
	return 0;
}

static int engine_make(struct limpid *l)
{
	struct engine_options options = {
		.quiet = !l->log_write,
		.record_delay_ms = l->options.record_delay_ms,
		.observer = &library_observer,
		.owner = l,
		.interceptors = l->interceptors,
		.n_interceptors = l->n_interceptors,
		.idle = on_idle,
	};
	char error[512];
	int r;

	if (l->options.threads)
		l->config->limits.threads = l->options.threads;
	r = engine_new(l->config, &options, &l->engine, error, sizeof(error));
	if (r < 0)
		return failed(l, r, "%s", error);
	l->config = NULL; /* the engine's */
	r = engine_start(l->engine);
	if (r < 0)
		return failed(l, r, "cannot start: %s", strerror(-r));
	return 0;
}

/* As threads of the engine are to be made: with its log, and without signals. */
static int start(struct limpid *l)
{
	const struct log *was = log_use(&l->log);
	sigset_t all, mask;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &mask);
	r = engine_make(l);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	log_use(was);
	return r;
}

int limpid_start(struct limpid *limpid)
{
	int r;

	if (limpid->engine)
		return too_late(limpid);
	if (!limpid->config->n_listeners)
		return failed(limpid, -EINVAL, "nothing to listen on");
	free(limpid->interceptors);
	r = interceptors_list(limpid);
	if (r < 0)
		return failed(limpid, r, "out of memory");
	r = start(limpid);
	if (r < 0)
		return r;
	atomic_store(&limpid->runs, true);
	if (atomic_load(&limpid->drain))
		engine_drain(limpid->engine);
	if (atomic_load(&limpid->stop))
		engine_ask_stop(limpid->engine);
	return 0;
}

int limpid_run(struct limpid *limpid)
{
	int r = limpid->engine ? 0 : limpid_start(limpid);

	if (r < 0)
		return r;
	if (!atomic_load(&limpid->runs))
		return too_late(limpid); /* it could not start */
	while (sem_wait(&limpid->idle) < 0)
		;		 /* a signal; its handler may have stopped the engine */
	sem_post(&limpid->idle); /* for whoever waits again */
	engine_stop(limpid->engine);
	return 0;
}

void limpid_stop(struct limpid *limpid)
{
	int saved = errno; /* of what a signal handler interrupted */

	atomic_store(&limpid->stop, true);
	if (atomic_load(&limpid->runs))
		engine_ask_stop(limpid->engine);
	errno = saved;
}

void limpid_drain(struct limpid *limpid)
{
	int saved = errno;

	atomic_store(&limpid->drain, true);
	if (atomic_load(&limpid->runs))
		engine_drain(limpid->engine);
	errno = saved;
}
