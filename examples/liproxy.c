/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liproxy: a label-inserting transparent proxy.  It listens as a TPROXY target, dials on from the
 * client's own address and port, inserts a label into what both sides say, and prints what
 * happens to each flow.  INT, TERM and HUP end it.
 *
 * The firewall has to divert connections to it, as in limpid-firewall(1) or by hand.
 */
#include <getopt.h>
#include <limpid/limpid.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Options are given with one dash or two; getopt_long_only() takes -flag=value, too. */
static const char usage[] =
	"usage: liproxy [-bindAddr IP:PORT] [-insertionLabel TEXT] [-prepend]\n"
	"\n"
	"  -bindAddr IP:PORT     where to listen (also -bindAddress) [127.0.0.1:9091]\n"
	"  -insertionLabel TEXT  inserted after each block of data, both ways\n"
	"  -prepend              inserted before it\n"
	"  -help                 this text\n";

struct label {
	const char *text;
	bool prepend;
};

static struct limpid *limpid;

static int label_open(struct limpid_flow *flow, void *conf, void **ret_state)
{
	(void)flow;
	*ret_state = conf; /* the same for all flows: nothing to close */
	return 0;
}

/* A failed write needs no care: the flow ends. */
static enum limpid_verdict label_data(struct limpid_flow *flow, void *state,
				      enum limpid_direction direction, const uint8_t *bytes,
				      size_t len, bool end, struct limpid_output *out)
{
	const struct label *label = state;

	(void)flow;
	(void)direction;
	(void)end;
	if (!len)
		return LIMPID_PASS;
	if (label->prepend)
		limpid_output_write(out, label->text, strlen(label->text));
	limpid_output_write(out, bytes, len);
	if (!label->prepend)
		limpid_output_write(out, label->text, strlen(label->text));
	return LIMPID_REPLACE;
}

static void say(const char *event, const struct limpid_flow *flow, const char *more)
{
	char client[LIMPID_ADDRESS_MAX], server[LIMPID_ADDRESS_MAX];

	printf("%s %s => %s%s%s\n", event, limpid_flow_client(flow, client),
	       limpid_flow_server(flow, server), *more ? ": " : "", more);
}

static void on_accepted(void *user, struct limpid_flow *flow)
{
	(void)user;
	say("receivedIncomingClientsideFlow", flow, "");
}

static void on_dialling(void *user, struct limpid_flow *flow)
{
	(void)user;
	say("initiatingOutgoingServersideFlow", flow, "");
}

static void on_client_finished(void *user, struct limpid_flow *flow, bool reset)
{
	(void)user;
	say("clientClosedFlow", flow, reset ? "reset" : "");
}

static void on_server_finished(void *user, struct limpid_flow *flow, bool reset)
{
	(void)user;
	say("serverClosedFlow", flow, reset ? "reset" : "");
}

static void on_error(void *user, struct limpid_flow *flow, const char *text)
{
	(void)user;
	say("proxyError", flow, text);
}

static void on_listen_error(void *user, const char *listener, const char *address, int error)
{
	(void)user;
	(void)listener;
	printf("listenError %s: %s\n", address, strerror(error));
}

static void on_signal(int number)
{
	(void)number;
	limpid_stop(limpid);
}

/* Return: 0, or the status to exit with, plus one. */
static int read_options(int argc, char **argv, struct limpid_listener *l, struct label *label)
{
	static const struct option options[] = {
		{ "bindAddr", required_argument, NULL, 'b' },
		{ "bindAddress", required_argument, NULL, 'b' },
		{ "insertionLabel", required_argument, NULL, 'l' },
		{ "prepend", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long_only(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 'b':
			l->address = optarg;
			break;
		case 'l':
			label->text = optarg;
			break;
		case 'p':
			label->prepend = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			fputs(usage, stderr);
			return 3;
		}
	if (optind == argc)
		return 0;
	fprintf(stderr, "liproxy: what is '%s'?\n%s", argv[optind], usage);
	return 3;
}

static int set_up(const struct limpid_listener *listener, struct label *label)
{
	static const struct limpid_events events = {
		.size = sizeof(events),
		.accepted = on_accepted,
		.dialling = on_dialling,
		.client_finished = on_client_finished,
		.server_finished = on_server_finished,
		.error = on_error,
		.listen_error = on_listen_error,
	};
	static const struct limpid_interceptor interceptor = {
		.size = sizeof(interceptor),
		.name = "label",
		.open = label_open,
		.data = label_data,
	};
	int r = limpid_set_events(limpid, &events, NULL);

	if (!r)
		r = limpid_add_listener(limpid, listener);
	if (!r && label->text && *label->text)
		r = limpid_add_interceptor(limpid, &interceptor, label);
	return r;
}

int main(int argc, char **argv)
{
	struct limpid_listener listener = {
		.size = sizeof(listener),
		.name = "liproxy",
		.mode = LIMPID_TPROXY,
		.address = "127.0.0.1:9091",
		.source = LIMPID_SOURCE_KEEP,
	};
	struct sigaction stop = { .sa_handler = on_signal };
	struct label label = { NULL, false };
	int r = read_options(argc, argv, &listener, &label);

	if (r)
		return r - 1;
	if (limpid_new(NULL, &limpid) < 0)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGHUP, &stop, NULL);
	r = set_up(&listener, &label);
	if (!r)
		r = limpid_run(limpid);
	if (r)
		fprintf(stderr, "liproxy: %s\n", limpid_error(limpid));
	limpid_free(limpid);
	return r ? 1 : 0;
}
