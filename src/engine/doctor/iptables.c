/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What iptables-save says (iptables-save(8), iptables-extensions(8)) as chains.
 *
 * A rule is a line of words; those that are known are read, all others narrow.  "!" stands before
 * the option that it negates.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/doctor/chains.h"

#define WORDS_MAX 128
#define LINE_MAX_BYTES 2048

struct words {
	char *w[WORDS_MAX];
	size_t n;
};

/* Cut @line, in place, at blanks outside of double quotes. */
static void split(char *line, struct words *ret)
{
	ret->n = 0;
	while (*line && ret->n < WORDS_MAX) {
		line += strspn(line, " ");
		if (!*line)
			break;
		ret->w[ret->n++] = line;
		for (bool quoted = false; *line && (quoted || *line != ' '); line++) {
			if (*line == '\\' && line[1])
				line++;
			else if (*line == '"')
				quoted = !quoted;
		}
		if (*line)
			*line++ = '\0';
	}
}

static void parse_number_mask(const char *text, uint32_t *ret_value, uint32_t *ret_mask)
{
	char *end;

	*ret_value = (uint32_t)strtoul(text, &end, 0);
	*ret_mask = *end == '/' ? (uint32_t)strtoul(end + 1, NULL, 0) : UINT32_MAX;
}

static enum chain_hook hook_of(const char *chain)
{
	static const char *const names[] = {
		[HOOK_PREROUTING] = "PREROUTING",   [HOOK_INPUT] = "INPUT",
		[HOOK_FORWARD] = "FORWARD",	    [HOOK_OUTPUT] = "OUTPUT",
		[HOOK_POSTROUTING] = "POSTROUTING",
	};

	for (size_t i = 1; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], chain))
			return (enum chain_hook)i;
	return HOOK_NONE;
}

static int priority_of(const char *table, enum chain_hook hook)
{
	if (!strcmp(table, "raw"))
		return -300;
	if (!strcmp(table, "mangle"))
		return -150;
	if (!strcmp(table, "nat"))
		return hook == HOOK_PREROUTING || hook == HOOK_OUTPUT ? -100 : 100;
	return 0;
}

/* One rule while its words are read. */
struct reading {
	struct fw_rule *r;
	const char *module; /* of the last -m */
	bool is_not;
};

static uint32_t l4_of(const char *word)
{
	if (!strcmp(word, "tcp") || !strcmp(word, "6"))
		return L4_TCP;
	if (!strcmp(word, "udp") || !strcmp(word, "17"))
		return L4_UDP;
	if (strstr(word, "icmp"))
		return L4_ICMP;
	return !strcmp(word, "all") ? L4_ALL : L4_OTHER;
}

static void read_target_name(struct fw_rule *r, const char *name)
{
	if (!strcmp(name, "TPROXY"))
		r->target = TARGET_TPROXY;
	else if (!strcmp(name, "REDIRECT"))
		r->target = TARGET_REDIRECT;
	else if (!strcmp(name, "DNAT"))
		r->target = TARGET_DNAT;
	else if (!strcmp(name, "SNAT") || !strcmp(name, "MASQUERADE"))
		r->target = TARGET_SNAT;
	else if (!strcmp(name, "NFQUEUE"))
		r->target = TARGET_QUEUE;
	else if (!strcmp(name, "ACCEPT"))
		r->end = END_ACCEPT;
	else if (!strcmp(name, "DROP") || !strcmp(name, "REJECT"))
		r->end = END_DROP;
	else if (!strcmp(name, "RETURN"))
		r->end = END_RETURN;
	else if (!strcmp(name, "MARK") || !strcmp(name, "CONNMARK") || !strcmp(name, "LOG"))
		return;
	else {
		r->end = END_JUMP;
		free(r->jump);
		r->jump = strdup(name);
	}
}

static void read_mark_test(struct reading *now, const char *word)
{
	struct fw_rule *r = now->r;
	struct mark_test t = { .is_not = now->is_not };

	if (strcmp(now->module, "mark") || r->n_tests == MARK_TESTS_MAX) {
		r->narrowed = true;
		return;
	}
	parse_number_mask(word, &t.value, &t.mask);
	r->tests[r->n_tests++] = t;
}

static void read_to(struct fw_rule *r, const char *word)
{
	struct addr to;

	if (addr_parse(word, &to) == 0)
		r->to = to;
	else if (addr_parse_ip(word, &to) == 0)
		memcpy(&r->to.ip, to.ip, sizeof(to.ip)), r->to.family = to.family;
}

/* Options with one value.  Return: is it known? */
static bool read_option(struct reading *now, const char *option, const char *value)
{
	struct fw_rule *r = now->r;

	if (!strcmp(option, "-m"))
		now->module = value;
	else if (!strcmp(option, "-p") && !now->is_not)
		r->l4 &= l4_of(value);
	else if (!strcmp(option, "-i") && !now->is_not)
		snprintf(r->iif, sizeof(r->iif), "%s", value);
	else if (!strcmp(option, "--mark"))
		read_mark_test(now, value);
	else if (!strcmp(option, "--ctstate") || !strcmp(option, "--state"))
		r->without_syn |= !strstr(value, "NEW") != now->is_not, r->narrowed = true;
	else if (!strcmp(option, "-j") || !strcmp(option, "-g"))
		read_target_name(r, value);
	else if (!strcmp(option, "--set-xmark") || !strcmp(option, "--tproxy-mark")) {
		parse_number_mask(value, &r->mark_value, &r->mark_mask);
		r->mark_mask |= r->mark_value;
		r->mark_set = true;
	} else if (!strcmp(option, "--on-port") || !strcmp(option, "--to-ports") ||
		   !strcmp(option, "--queue-num"))
		r->to.port = (uint16_t)strtoul(value, NULL, 10);
	else if (!strcmp(option, "--on-ip") || !strcmp(option, "--to-destination"))
		read_to(r, value);
	else if (!strcmp(option, "--uid-owner") || !strcmp(option, "--gid-owner") ||
		 !strcmp(option, "--path") || !strcmp(option, "--cgroup"))
		r->owner = true;
	else
		return !strcmp(option, "--comment") || !strcmp(option, "--reject-with");
	return true;
}

/* Options without a value, or with two.  Return: words taken beyond the first, -1 not known. */
static int read_odd_option(struct reading *now, const struct words *w, size_t i)
{
	struct fw_rule *r = now->r;

	if (!strcmp(w->w[i], "--transparent") || !strcmp(w->w[i], "--nowildcard") ||
	    !strcmp(w->w[i], "--queue-bypass"))
		return 0;
	if (!strcmp(w->w[i], "--restore-mark")) {
		r->mark_copied = true;
		r->mark_mask = UINT32_MAX;
		return 0;
	}
	if (!strcmp(w->w[i], "--syn")) {
		r->without_syn |= now->is_not;
		r->narrowed |= !now->is_not;
		return 0;
	}
	if (!strcmp(w->w[i], "--tcp-flags") && i + 2 < w->n) {
		bool names_syn = strstr(w->w[i + 1], "SYN") && strstr(w->w[i + 2], "SYN");
		bool without = now->is_not ? names_syn : strstr(w->w[i + 1], "SYN") && !names_syn;

		r->without_syn |= without;
		r->narrowed |= !without;
		return 2;
	}
	if (!strcmp(w->w[i], "--nfmask") && i + 1 < w->n) {
		r->mark_mask = (uint32_t)strtoul(w->w[i + 1], NULL, 0);
		return 1;
	}
	return -1;
}

static void read_rule(struct fw_rule *r, const struct words *w)
{
	struct reading now = { .r = r, .module = "" };

	for (size_t i = 2; i < w->n; i++) {
		int taken;

		if (!strcmp(w->w[i], "!")) {
			now.is_not = true;
			continue;
		}
		taken = read_odd_option(&now, w, i);
		if (taken < 0 && i + 1 < w->n && w->w[i][0] == '-' &&
		    read_option(&now, w->w[i], w->w[i + 1]))
			taken = 1;
		/* The value of an unknown option is passed over as an unknown word. */
		r->narrowed |= taken < 0;
		if (!strcmp(now.module, "socket"))
			r->socket = true;
		i += taken > 0 ? (size_t)taken : 0;
		now.is_not = false;
	}
	if (r->mark_copied)
		r->mark_set = false;
}

static int add_rule(struct chains *c, const char *family, const char *program, const char *table,
		    const char *line)
{
	char copy[LINE_MAX_BYTES];
	struct fw_chain *chain;
	struct fw_rule *r;
	struct words w;

	if (strlen(line) >= sizeof(copy))
		return 0;
	memcpy(copy, line, strlen(line) + 1);
	split(copy, &w);
	chain = w.n > 1 ? chains_find(c, family, program, table, w.w[1]) : NULL;
	if (!chain)
		return 0;
	r = chain_add_rule(chain);
	if (!r)
		return -ENOMEM;
	r->id = (long)chain->n_rules;
	r->text = strdup(line + strlen("-A ") + strlen(w.w[1]) + (w.n > 2));
	if (!r->text)
		return -ENOMEM;
	read_rule(r, &w);
	return 0;
}

/* ":PREROUTING ACCEPT [0:0]" */
static int add_chain(struct chains *c, const char *family, const char *program, const char *table,
		     const char *line)
{
	char name[64], policy[16];
	struct fw_chain *chain;

	if (sscanf(line, ":%63s %15s", name, policy) != 2)
		return 0;
	chain = chains_add(c, family, table, name);
	if (!chain)
		return -ENOMEM;
	chain->iptables = program;
	chain->hook = hook_of(name);
	chain->priority = priority_of(table, chain->hook);
	chain->drops = !strcmp(policy, "DROP");
	return 0;
}

int chains_read_iptables(struct chains *c, const char *text, const char *program, int family)
{
	const char *family_text = family == HOST_V4 ? "ip" : "ip6";
	char line[LINE_MAX_BYTES], table[32] = "";
	int r = 0;

	for (const char *p = text; p && *p && !r; p += strcspn(p, "\n"), p += *p == '\n') {
		size_t len = strcspn(p, "\n");

		if (len >= sizeof(line))
			continue;
		memcpy(line, p, len);
		line[len] = '\0';
		if (line[0] == '*')
			snprintf(table, sizeof(table), "%.31s", line + 1);
		else if (line[0] == ':')
			r = add_chain(c, family_text, program, table, line);
		else if (!strncmp(line, "-A ", 3))
			r = add_rule(c, family_text, program, table, line);
	}
	return r;
}
