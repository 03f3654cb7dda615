/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "sys/log.h"
#include "sys/netns.h"

/* After the command has ended, what it sent must still arrive: flows may go on while bytes move,
 * and this long without any. */
#define DRAIN_MS 2000
#define DRAIN_POLL_MS 5

static const char usage[] =
	"usage: limpid run [-q] [--honest] [--record FILE] -- COMMAND [ARGUMENT...]\n"
	"\n"
	"Run a command and intercept all its traffic.  Needs no privileges and changes\n"
	"nothing on the host.\n"
	"\n"
	"  -q             no line per flow on standard error\n"
	"  --honest       connect the command only once its server has answered: refused is\n"
	"                 refused, unreachable is unreachable\n"
	"  --record FILE  append one JSON object per flow\n"
	"  --help         this text\n"
	"\n"
	"Exit status: the command's own; 128+n if signal n ended it, 127 not found, 126 not\n"
	"executable, 1 if it could not be intercepted, 2 wrong usage.\n";

static void sleep_ms(unsigned int ms)
{
	struct timespec t = { .tv_nsec = (long)ms * 1000000 };

	nanosleep(&t, NULL);
}

static void drain(struct engine *e)
{
	uint64_t moved = 0;
	unsigned int still_ms = 0;

	engine_drain(e);
	while (!engine_is_idle(e) && still_ms < DRAIN_MS) {
		sleep_ms(DRAIN_POLL_MS);
		still_ms = engine_moved(e) == moved ? still_ms + DRAIN_POLL_MS : 0;
		moved = engine_moved(e);
	}
	engine_stop(e);
}

static struct config *run_config(const char *record)
{
	struct config *c = config_new();

	if (!c)
		return NULL;
	policy_free(c->policy);
	c->policy = policy_new_accept("run");
	c->record_flows = record ? strdup(record) : NULL;
	c->mark = 0; /* dialled outside the command's namespace: nothing intercepts it there */
	if (!c->policy || (record && !c->record_flows)) {
		config_free(c);
		return NULL;
	}
	return c;
}

/* Threads must not get the signals that the main thread passes on to the command. */
static int start_engine(struct engine *e)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = engine_start(e);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int carry(struct netns_command *command, const struct netns_sockets *sockets,
		 struct config *config, bool quiet)
{
	struct engine_options options = { .quiet = quiet };
	struct engine *e;
	sigset_t all, before;
	char error[512];
	int r, status;

	sigfillset(&all); /* the thread that writes records is made here */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = engine_new(config, &options, &e, error, sizeof(error));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		fprintf(stderr, "limpid run: %s\n", error);
		config_free(config);
		return 1;
	}
	r = engine_adopt(e, sockets);
	if (!r)
		r = start_engine(e);
	if (!r)
		r = netns_command_go(command);
	if (r < 0) {
		fprintf(stderr, "limpid run: cannot start: %s\n", strerror(-r));
		engine_free(e);
		return 1;
	}
	status = netns_command_wait(command);
	drain(e);
	engine_free(e);
	return status;
}

static int run(char **argv, const char *record, bool quiet, bool honest)
{
	struct config *config = run_config(record);
	struct netns_wish wish = { .honest = honest };
	struct netns_command *command;
	struct netns_sockets sockets;
	char error[512];
	int status;

	if (!config) {
		fputs("limpid run: out of memory\n", stderr);
		return 1;
	}
	wish.queue_length = config->limits.held_syns;
	if (netns_command_new(argv, &wish, &command, &sockets, error, sizeof(error)) < 0) {
		fprintf(stderr, "limpid run: %s\n", error);
		config_free(config);
		return 1;
	}
	status = carry(command, &sockets, config, quiet);
	netns_command_free(command);
	return status;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "honest", no_argument, NULL, 'H' },
		{ "record", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *record = NULL;
	bool quiet = false, honest = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "+q", options, NULL)) >= 0) {
		switch (opt) {
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'q':
			quiet = true;
			break;
		case 'H':
			honest = true;
			break;
		case 'r':
			record = optarg;
			break;
		default:
			return options_refuse(argv[0], NULL, usage);
		}
	}
	if (optind >= argc)
		return options_refuse(argv[0], "the command is missing", usage);
	return run(argv + optind, record, quiet, honest);
}
