/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Everything that is asked of other programs is asked once, here; files of /proc are read when a
 * check wants them, below `root`.  So each check is a function of a struct host, and a test gives
 * it one made of text.  A program that is missing or fails leaves its part empty: the checks say
 * what could not be seen.
 *
 * iptables-save is asked only where iptables has written something.  Its rules appear in nft's
 * listing, too, but there what a target does is not shown.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/doctor/host.h"
#include "sys/command.h"
#include "sys/netns.h"

#define OUTPUT_MAX_BYTES ((size_t)64 << 20)

/* Put to nft with -c: checked by the kernel, and taken back. */
static const char sample[] =
	"table inet limpid-doctor {\n"
	" chain c {\n"
	"  type filter hook prerouting priority mangle\n"
	"  tcp flags & (syn | ack) != syn socket transparent 1 meta mark set 1 accept\n"
	"  meta nfproto ipv4 meta l4proto { tcp, udp } tproxy ip to 127.0.0.1:1 accept\n"
	" }\n"
	" chain o {\n"
	"  type route hook output priority mangle\n"
	"  meta mark set 1\n"
	" }\n"
	"}\n";

static char *ask(const char *line)
{
	char *out = NULL, said[16];

	return command_read(line, OUTPUT_MAX_BYTES, &out, said, sizeof(said)) < 0 ? NULL : out;
}

static json_t *ask_json(const char *line)
{
	_cleanup_free_ char *text = ask(line);

	return text ? json_loads(text, 0, NULL) : NULL;
}

static void read_ip(struct host *h)
{
	h->links = ask_json("ip -j -d link show");
	h->rules[HOST_V4] = ask_json("ip -j -4 rule show");
	h->rules[HOST_V6] = ask_json("ip -j -6 rule show");
	h->routes[HOST_V4] = ask_json("ip -j -4 route show table all");
	h->routes[HOST_V6] = ask_json("ip -j -6 route show table all");
}

/* @listing: nft's, in which a rule of iptables has parts called xt. */
static void read_iptables(struct host *h, const char *listing)
{
	char line[64];

	if (listing && strstr(listing, "\"xt\"")) {
		h->iptables[HOST_V4] = ask("iptables-nft-save");
		h->iptables[HOST_V6] = ask("ip6tables-nft-save");
	}
	if (host_line(h, "/proc/net/ip_tables_names", line, sizeof(line))[0])
		h->legacy[HOST_V4] = ask("iptables-legacy-save");
	if (host_line(h, "/proc/net/ip6_tables_names", line, sizeof(line))[0])
		h->legacy[HOST_V6] = ask("ip6tables-legacy-save");
}

static void read_rules(struct host *h)
{
	_cleanup_free_ char *out = NULL;
	struct command check;
	char said[256];
	int r = command_read("nft -j list ruleset", OUTPUT_MAX_BYTES, &out, said, sizeof(said));

	if (!r)
		h->nft = json_loads(out, 0, NULL);
	read_iptables(h, out);
	if (!h->nft) {
		h->nft_said = strdup(said[0] ? said : r < 0 ? strerror(-r) : "no JSON");
		return;
	}
	h->nft_text = ask("nft -a list ruleset");
	if (!command_begin(&check, "nft -c -f -", sample) &&
	    command_end(&check, said, sizeof(said)) < 0)
		h->kernel_said = strdup(said);
}

/* What the helper of a run would say; nothing is run, nothing stays. */
static void try_run(struct host *h)
{
	static char *const argv[] = { (char *)"true", NULL };
	struct netns_command *command;
	struct netns_sockets sockets;
	char said[512];

	h->run_asked = true;
	if (netns_command_new(argv, &(struct netns_wish){ 0 }, &command, &sockets, said,
			      sizeof(said)) < 0) {
		h->run_said = strdup(said);
		return;
	}
	netns_command_free(command);
	for (int f = 0; f < NETNS_FAMILIES; f++) {
		const int fds[] = { sockets.tcp[f], sockets.udp[f], sockets.reply[f],
				    sockets.icmp[f] };

		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
}

struct host *host_read(bool with_run)
{
	struct host *h = NEW0(struct host);

	if (!h)
		return NULL;
	h->root = strdup("");
	if (!h->root) {
		free(h);
		return NULL;
	}
	h->has_nft = command_exists("nft");
	h->has_ip = command_exists("ip");
	read_ip(h);
	read_rules(h);
	h->wireguard = ask("wg show all endpoints");
	if (with_run)
		try_run(h);
	return h;
}

void host_free(struct host *h)
{
	if (!h)
		return;
	for (int f = 0; f < HOST_FAMILIES; f++) {
		json_decref(h->rules[f]);
		json_decref(h->routes[f]);
		free(h->iptables[f]);
		free(h->legacy[f]);
	}
	json_decref(h->links);
	json_decref(h->nft);
	free(h->nft_text);
	free(h->wireguard);
	free(h->nft_said);
	free(h->kernel_said);
	free(h->run_said);
	free(h->root);
	free(h);
}

static FILE *open_below(const struct host *h, const char *path)
{
	char whole[512];
	int n = snprintf(whole, sizeof(whole), "%s%s", h->root, path);

	return n > 0 && (size_t)n < sizeof(whole) ? fopen(whole, "re") : NULL;
}

bool host_has(const struct host *h, const char *path)
{
	char whole[512];
	int n = snprintf(whole, sizeof(whole), "%s%s", h->root, path);

	return n > 0 && (size_t)n < sizeof(whole) && !access(whole, F_OK);
}

long host_number(const struct host *h, long fallback, const char *fmt, ...)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[256];
	va_list args;
	long value;

	va_start(args, fmt);
	vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	f = open_below(h, path);
	return f && fscanf(f, "%ld", &value) == 1 ? value : fallback;
}

const char *host_line(const struct host *h, const char *path, char *dst, size_t cap_bytes)
{
	_cleanup_fclose_ FILE *f = open_below(h, path);
	/* At once: some files below /proc/sys have nothing for a second read. */
	ssize_t len = f ? read(fileno(f), dst, cap_bytes - 1) : 0;

	dst[len > 0 ? len : 0] = '\0';
	dst[strcspn(dst, "\n")] = '\0';
	return dst;
}

const char *host_field(const struct host *h, const char *path, const char *start, char *dst,
		       size_t cap_bytes)
{
	_cleanup_fclose_ FILE *f = open_below(h, path);
	size_t len = strlen(start);

	while (f && fgets(dst, (int)cap_bytes, f)) {
		size_t skip;

		if (strncmp(dst, start, len))
			continue;
		skip = len + strspn(dst + len, " \t");
		dst[strcspn(dst, "\n")] = '\0';
		memmove(dst, dst + skip, strlen(dst + skip) + 1);
		return dst;
	}
	dst[0] = '\0';
	return dst;
}

/* Cut the comment with the handle off a line of nft -a.  Return: the handle, -1 if none. */
static long take_handle(char *line)
{
	char *comment = NULL;

	for (char *p = line; (p = strstr(p, " # handle ")); p++)
		comment = p;
	if (!comment)
		return -1;
	*comment = '\0';
	return strtol(comment + strlen(" # handle "), NULL, 10);
}

const char *host_rule_text(const struct host *h, const char *family, const char *table, long handle,
			   char *dst, size_t cap_bytes)
{
	char head[256], line[4096];
	bool inside = false;

	dst[0] = '\0';
	snprintf(head, sizeof(head), "table %s %s {", family, table);
	for (const char *p = h->nft_text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		size_t len = strcspn(p, "\n");
		const char *begin;

		if (len >= sizeof(line))
			continue;
		memcpy(line, p, len);
		line[len] = '\0';
		if (line[0] != '\t')
			inside = !strncmp(line, head, strlen(head));
		begin = line + strspn(line, "\t ");
		if (!inside || take_handle(line) != handle || line[0] != '\t' || line[1] != '\t' ||
		    strlen(begin) >= cap_bytes)
			continue;
		memcpy(dst, begin, strlen(begin) + 1);
		break;
	}
	return dst;
}
