/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/firewall.h"
#include "sys/guard.h"
#include "sys/log.h"
#include "sys/notify.h"

/* Records may wait this long to be written together. */
#define RECORD_DELAY_MS 50
#define DRAIN_POLL_MS 20
/* What is left to do after draining takes less. */
#define STOP_MS 5000

static const char usage[] =
	"usage: limpid serve [--config FILE] [--firewall] [--user NAME]\n"
	"\n"
	"Open the listeners of a configuration and intercept what reaches them, in the\n"
	"foreground.  TERM or INT ends it: open flows get timeouts.drain to end.\n"
	"\n" OPTIONS_CONFIG_HELP
	"  --firewall     set up the firewall for it, and take that back in the end,\n"
	"                 see limpid-firewall(1)\n"
	"  --user NAME    once all is open, go on as this user, with few privileges\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0 ended by a signal, 1 could not start, 2 wrong usage.\n";

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void notify(const char *state)
{
	int r = notify_send(state);

	if (r < 0)
		log_line(LOG_WARNING, "cannot tell the service manager: %s", strerror(-r));
}

static void notify_ready(const struct config *c)
{
	char text[128];

	snprintf(text, sizeof(text), "READY=1\nSTATUS=serving: %zu listeners, %zu rules",
		 c->n_listeners, c->policy->n_rules);
	notify(text);
}

/* The manager's own patience may be shorter than ours. */
static void notify_stopping(uint32_t drain_ms)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "STOPPING=1\nSTATUS=waiting for open flows to end\nEXTEND_TIMEOUT_USEC=%" PRIu64,
		 ((uint64_t)drain_ms + STOP_MS) * 1000);
	notify(text);
}

/* Wait for the flows to end, for a second signal, or for the bound. */
static void drain(struct engine *e, const sigset_t *signals, uint32_t bound_ms)
{
	const struct timespec poll = { .tv_nsec = DRAIN_POLL_MS * 1000000 };
	uint64_t until_ms = clock_ms() + bound_ms;

	engine_drain(e);
	while (!engine_is_idle(e) && clock_ms() < until_ms)
		if (sigtimedwait(signals, NULL, &poll) > 0)
			return;
}

static void say_stats(const struct engine *e)
{
	struct stats s;
	uint64_t ended = 0;

	engine_stats(e, &s);
	for (unsigned int i = 0; i < WHY_COUNT; i++)
		ended += s.ended[i];
	log_line(LOG_INFO,
		 "stopped: %" PRIu64 " flows, %" PRIu64 " finished in order, %" PRIu64
		 " bytes up, %" PRIu64 " down",
		 ended, s.ended[WHY_FINISHED], s.bytes_up, s.bytes_down);
	if (s.accept_pauses)
		log_line(LOG_WARNING,
			 "accepting paused %" PRIu64 " times: limits.flows or descriptors",
			 s.accept_pauses);
	if (s.ended[WHY_LOOP])
		log_line(LOG_WARNING, "%" PRIu64 " flows led back to limpid itself",
			 s.ended[WHY_LOOP]);
	if (s.source_fell_port || s.source_fell_own)
		log_line(LOG_WARNING,
			 "source: %" PRIu64 " flows lost the client's port, %" PRIu64
			 " its address",
			 s.source_fell_port, s.source_fell_own);
	if (s.addresses_refused)
		log_line(LOG_INFO, "names: %" PRIu64 " addresses of names refused by policy",
			 s.addresses_refused);
	if (s.bind_strangers)
		log_line(LOG_INFO, "bind: %" PRIu64 " connections of others than were awaited",
			 s.bind_strangers);
	if (s.time_wait_ended)
		log_line(LOG_INFO,
			 "source: %" PRIu64 " flows kept the client's port by ending a TIME_WAIT",
			 s.time_wait_ended);
}

/* What the guard does, and what an orderly end leaves nothing of for it to do. */
static int take_back(uint64_t owner)
{
	char error[512];
	int r = firewall_down_of(owner, error, sizeof(error));

	if (r < 0)
		log_line(LOG_ERROR, "the firewall cannot be taken back: %s", error);
	return r < 0;
}

/* What the command line says. */
struct wish {
	const char *config, *user;
	bool firewall;
};

/* The rules of one run; owner 0: it has none. */
struct rules {
	uint64_t owner;
	struct guard guard;
	bool by_guard; /* only the guard may take them back */
	int held_fd;   /* says that they are in use */
};

/* Before there is a second thread. */
static int rules_guard(struct rules *rules)
{
	int r;

	if (getrandom(&rules->owner, sizeof(rules->owner), 0) < 0)
		return -errno;
	rules->owner |= 1; /* never FIREWALL_BY_HAND */
	r = guard_start(take_back, rules->owner, &rules->guard);
	if (r < 0)
		rules->owner = FIREWALL_BY_HAND;
	return r;
}

/* While the listeners are still open: what is diverted must find somebody. */
static void rules_end(struct rules *rules)
{
	if (rules->owner == FIREWALL_BY_HAND)
		return;
	if (!rules->by_guard)
		take_back(rules->owner);
	if (guard_end(&rules->guard) < 0 && rules->by_guard)
		log_line(LOG_ERROR, "the guard was killed: the firewall stays as it is; cure: "
				    "limpid firewall down");
	if (rules->held_fd >= 0)
		close(rules->held_fd);
}

static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	sigaddset(signals, SIGPIPE);
	sigaddset(signals, SIGXFSZ); /* a file of records at its limit */
	pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/* Everything that has to be there before anything is served. */
static int start(struct config *config, const char *user, struct rules *rules, struct engine **ret)
{
	struct engine_options options = { .record_delay_ms = RECORD_DELAY_MS };
	char error[512];
	int r = engine_new(config, &options, ret, error, sizeof(error));

	if (r < 0) {
		fprintf(stderr, "limpid serve: %s\n", error);
		config_free(config);
		return r;
	}
	if (rules->owner != FIREWALL_BY_HAND)
		r = firewall_up(config, rules->owner, &rules->held_fd, error, sizeof(error));
	if (r < 0) {
		fprintf(stderr, "limpid serve: firewall: %s\n", error);
		engine_free(*ret);
		return r;
	}
	if (user)
		r = engine_become(*ret, user, error, sizeof(error));
	if (r < 0) {
		fprintf(stderr, "limpid serve: %s\n", error);
		engine_free(*ret);
		return r;
	}
	r = engine_start(*ret);
	if (r < 0) {
		fprintf(stderr, "limpid serve: cannot start: %s\n", strerror(-r));
		engine_free(*ret);
	}
	return r;
}

static int serve(const struct wish *wish)
{
	struct rules rules = { .by_guard = wish->user, .held_fd = -1 };
	struct config *config;
	struct engine *e;
	uint32_t drain_ms;
	sigset_t signals;
	int r, sig;

	if (config_load(wish->config, stderr, &config) < 0)
		return 1;
	log_set_level(config->log);
	drain_ms = config->timeouts.drain_ms;
	block_signals(&signals);
	r = wish->firewall ? rules_guard(&rules) : 0;
	if (r < 0) {
		fprintf(stderr, "limpid serve: no guard for the firewall: %s\n", strerror(-r));
		config_free(config);
		return 1;
	}
	if (start(config, wish->user, &rules, &e) < 0) {
		rules_end(&rules);
		return 1;
	}
	notify_ready(config);
	while ((r = sigwait(&signals, &sig)) == 0 && sig != SIGTERM && sig != SIGINT)
		if (sig == SIGHUP)
			engine_look_again(e);
	notify_stopping(drain_ms);
	drain(e, &signals, drain_ms);
	engine_stop(e);
	rules_end(&rules);
	say_stats(e);
	engine_free(e);
	return 0;
}

int cmd_serve(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "user", required_argument, NULL, 'u' },
		{ "firewall", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct wish wish = { 0 };
	const char **value;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (opt) {
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'f':
			wish.firewall = true;
			break;
		case 'c':
		case 'u':
			value = opt == 'c' ? &wish.config : &wish.user;
			if (*value)
				return options_refuse(argv[0], "an option is given twice", usage);
			*value = optarg;
			break;
		default:
			return options_refuse(argv[0], NULL, usage);
		}
	}
	if (optind < argc)
		return options_refuse(argv[0], "nothing is expected behind the options", usage);
	if (!wish.config)
		wish.config = OPTIONS_CONFIG_DEFAULT;
	return serve(&wish);
}
