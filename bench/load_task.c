/* SPDX-License-Identifier: Apache-2.0 */
/* What a client is asked to do, where its connections come from and go, and what it prints. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define PATIENCE_S 5			/* without progress for so long: counted and begun again */

static const char usage[] =
	"usage: load client --to ADDR --port PORT [--ports N] [--from ADDR] [--froms N]\n"
	"  [--app echo|hello|down|up|both|http|udp|train|sink] [--via socks5|connect|http:ADDR:PORT]\n"
	"  [--name NAME] [--conns N] [--size BYTES] [--close]\n"
	"  [--rate N --patience S] [--warm S] [--time S] | [--count UNITS] | [--hold N]   [--cpu FILE]…\n";

static void addr_spread(struct sockaddr_storage *ss, unsigned int host, unsigned int port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	if (ss->ss_family == AF_INET) {
		in->sin_addr.s_addr = htonl(ntohl(in->sin_addr.s_addr) + host);
		in->sin_port = htons((uint16_t)(ntohs(in->sin_port) + port));
	} else {
		in6->sin6_addr.s6_addr[15] = (uint8_t)(in6->sin6_addr.s6_addr[15] + host);
		in6->sin6_port = htons((uint16_t)(ntohs(in6->sin6_port) + port));
	}
}

void task_addresses(const struct task *t, uint64_t i, struct sockaddr_storage *ret_to,
		    struct sockaddr_storage *ret_from)
{
	*ret_to = t->to;
	*ret_from = t->from;
	addr_spread(ret_to, 0, (unsigned int)(i / t->froms % t->ports));
	if (ret_from->ss_family)
		addr_spread(ret_from, (unsigned int)(i % t->froms), 0);
}

static void addr_parse(struct task *t, struct sockaddr_storage *ret, const char *text, int port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		t->addr_len = sizeof(*in);
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		t->addr_len = sizeof(*in6);
	} else {
		errno = EINVAL;
		die(text);
	}
}

/* socks5:ADDR:PORT */
static bool via_parse(struct task *t, char *text)
{
	static const char *const names[] = {
		[VIA_SOCKS5] = "socks5", [VIA_CONNECT] = "connect", [VIA_HTTP] = "http",
	};
	char *addr = strchr(text, ':'), *port = strrchr(text, ':');

	if (!addr || addr == port)
		return false;
	*addr++ = *port++ = '\0';
	addr_parse(t, &t->proxy, addr, atoi(port));
	for (int i = VIA_SOCKS5; i <= VIA_HTTP; i++)
		if (strcmp(text, names[i]) == 0)
			t->via = (enum via)i;
	return t->via != VIA_NONE;
}

void task_parse(struct task *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "to", 1, NULL, 't' }, { "port", 1, NULL, 'p' }, { "ports", 1, NULL, 'P' },
		{ "from", 1, NULL, 'f' }, { "froms", 1, NULL, 'F' }, { "app", 1, NULL, 'a' },
		{ "conns", 1, NULL, 'c' }, { "size", 1, NULL, 's' }, { "close", 0, NULL, 'x' },
		{ "warm", 1, NULL, 'w' }, { "time", 1, NULL, 'T' }, { "count", 1, NULL, 'n' },
		{ "hold", 1, NULL, 'h' }, { "cpu", 1, NULL, 'u' }, { "via", 1, NULL, 'v' },
		{ "name", 1, NULL, 'N' }, { "rate", 1, NULL, 'r' }, { "patience", 1, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	const char *to = NULL, *from = NULL;
	int o, port = 0;
	bool good = true;

	*t = (struct task){ .ports = 1, .froms = 1, .conns = 1, .size_bytes = 64, .time_s = 1,
			    .patience_s = PATIENCE_S, .name = "www.example.org" };
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 't': to = optarg; break;
		case 'p': port = atoi(optarg); break;
		case 'P': t->ports = (unsigned int)atoi(optarg); break;
		case 'f': from = optarg; break;
		case 'F': t->froms = (unsigned int)atoi(optarg); break;
		case 'a': good &= app_parse(optarg, &t->app) == 0; break;
		case 'c': t->conns = (unsigned int)atoi(optarg); break;
		case 's': t->size_bytes = (size_t)atol(optarg); break;
		case 'x': t->close_each = true; break;
		case 'w': t->warm_s = atof(optarg); break;
		case 'T': t->time_s = atof(optarg); break;
		case 'n': t->count = (uint64_t)atoll(optarg); break;
		case 'N': t->name = optarg; break;
		case 'r': t->rate = atof(optarg); break;
		case 'e': t->patience_s = atof(optarg); break;
		case 'h': t->hold = (unsigned int)atoi(optarg); break;
		case 'v': good &= via_parse(t, optarg); break;
		case 'u':
			good &= t->cpus < CPU_MAX;
			if (good)
				t->cpu[t->cpus++] = optarg;
			break;
		default: good = false; break;
		}
	}
	if (!good || !to || !port || !t->conns || !t->ports || !t->froms ||
	    t->size_bytes < sizeof(uint64_t) || t->size_bytes > REQUEST_MAX_BYTES) {
		fputs(usage, stderr);
		exit(2);
	}
	addr_parse(t, &t->to, to, port);
	if (from)
		addr_parse(t, &t->from, from, 0);
}

void tally_error(struct tally *t, const char *what, int error)
{
	if (t->errors++ == 0)
		snprintf(t->error, sizeof(t->error), "%s: %s", what, strerror(error));
}

/* The window begins; the first error's words are kept. */
static void tally_reset(struct tally *t)
{
	t->units = t->offered = t->bytes = t->errors = t->stuck = 0;
	hist_reset(&t->latency);
}

void window_begin(struct window *w, const struct task *task)
{
	w->now_ns = now_ns();
	w->warm_ns = w->now_ns + (uint64_t)(task->warm_s * 1e9);
	w->end_ns = w->warm_ns + (uint64_t)(task->time_s * 1e9);
	w->measuring = task->count > 0;
	cpu_read(&w->begin, task->cpu, task->cpus);
}

bool window_open(struct window *w, const struct task *task, struct tally *t)
{
	w->now_ns = now_ns();
	if (!w->measuring && w->now_ns >= w->warm_ns) {
		cpu_read(&w->begin, task->cpu, task->cpus);
		w->measuring = true;
		tally_reset(t);
	}
	return task->count ? t->units + t->errors < task->count : w->now_ns < w->end_ns;
}

void window_print(const struct window *w, const struct task *task, const struct tally *t)
{
	const struct cpu *a = &w->begin, *b;
	struct cpu end;

	double s;

	cpu_read(&end, task->cpu, task->cpus);
	b = &end;
	s = (double)(b->at_ns - a->at_ns) / 1e9;
	printf("{\"seconds\": %.4f, \"units\": %llu, \"offered\": %llu, \"bytes\": %llu, "
	       "\"errors\": %llu, "
	       "\"stuck\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": %.1f, \"busy_us\": %llu, \"error\": \"%s\", \"cpu_us\": [",
	       s, (unsigned long long)t->units, (unsigned long long)t->offered,
	       (unsigned long long)t->bytes, (unsigned long long)t->errors,
	       (unsigned long long)t->stuck,
	       hist_us(&t->latency, 0.5), hist_us(&t->latency, 0.99), hist_us(&t->latency, 0.999),
	       (double)t->latency.max_ns / 1000, (unsigned long long)(b->busy_us - a->busy_us),
	       t->error);
	for (size_t i = 0; i < task->cpus; i++)
		printf("%s%llu", i ? ", " : "",
		       (unsigned long long)(b->used_us[i] - a->used_us[i]));
	printf("]}\n");
	fflush(stdout);
}
