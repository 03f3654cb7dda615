/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A plan is a list of commands, made from the configuration and what is known of the host and
 * from nothing else; what is printed and what is run is the same list.
 *
 * Routing, for each family: what carries the divert mark (or one of those behind it) is looked
 * up in a table of our own, in which everything is local.  The reverse look-up, which asks
 * whether a source address is plausible, must not find that table, or rp_filter with
 * src_valid_mark and firewalld's IPv6_rpfilter drop what we mark: it is done as if from lo, so
 * the first rule takes it past ours.  What this host sends is looked up as if from lo, too, and
 * has marks of its own.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/firewall_plan.h"
#include "engine/firewall_rules.h"

#define PORTS 65536
#define GONE "No such|does not exist" /* file or directory, process; FIB table */
#define THERE "File exists"	      /* the very same rule */
#define NO_NAME "syntax error"	      /* a word of nft's own: no table has that name */

void firewall_steps_done(struct firewall_steps *steps)
{
	for (size_t i = 0; i < steps->n; i++) {
		free(steps->list[i].line);
		free(steps->list[i].input);
		free(steps->list[i].value);
		free(steps->list[i].was);
	}
	free(steps->list);
	*steps = (struct firewall_steps){ 0 };
}

static struct firewall_step *step_add(struct firewall_steps *steps)
{
	struct firewall_step *list = reallocarray(steps->list, steps->n + 1, sizeof(*steps->list));

	if (!list) {
		steps->no_memory = true;
		return NULL;
	}
	steps->list = list;
	list[steps->n] = (struct firewall_step){ 0 };
	return &list[steps->n++];
}

/* A command; what it may complain about in @settled. */
__attribute__((format(printf, 3, 4))) static void
step_run(struct firewall_steps *steps, const char *settled, const char *fmt, ...)
{
	struct firewall_step *step = step_add(steps);
	va_list args;

	if (!step)
		return;
	step->settled = settled;
	va_start(args, fmt);
	if (vasprintf(&step->line, fmt, args) < 0) {
		step->line = NULL;
		steps->no_memory = true;
	}
	va_end(args);
}

/* Owns @script; NULL: no memory.  @settled as in step_run(). */
static void step_nft(struct firewall_steps *steps, char *script, const char *settled)
{
	struct firewall_step *step = step_add(steps);

	if (!step) {
		free(script);
		return;
	}
	step->line = strdup("nft -f -");
	step->input = script;
	step->settled = settled;
	steps->no_memory = steps->no_memory || !script || !step->line;
}

/* Owns @value; NULL: no memory. */
static void step_write(struct firewall_steps *steps, const char *name, char *value, const char *was)
{
	struct firewall_step *step = step_add(steps);

	if (!step) {
		free(value);
		return;
	}
	step->name = name;
	step->value = value;
	step->was = strdup(was);
	steps->no_memory = steps->no_memory || !value || !step->was;
}

/* --- ports ------------------------------------------------------------------------------- */

static void ports_read(const char *text, bool *is_in)
{
	while (*text) {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end == text)
			return;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (unsigned long i = first; i <= last && i < PORTS; i++)
			is_in[i] = true;
		text = end + (*end == ',');
	}
}

char *firewall_ports_add(const char *ports, const struct config *c)
{
	bool *is_in = calloc(PORTS, sizeof(*is_in));
	char *text = NULL;
	const char *comma = "";
	size_t len;
	FILE *f = is_in ? open_memstream(&text, &len) : NULL;

	if (!f) {
		free(is_in);
		return NULL;
	}
	ports_read(ports, is_in);
	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t k = 0; k < c->listeners[i].n_addresses; k++)
			is_in[c->listeners[i].addresses[k].port] = true;
	for (size_t i = 0; i < PORTS; i++) {
		size_t last = i;

		if (!is_in[i])
			continue;
		while (last + 1 < PORTS && is_in[last + 1])
			last++;
		fprintf(f, last > i ? "%s%zu-%zu" : "%s%zu", comma, i, last);
		comma = ",";
		i = last;
	}
	free(is_in);
	if (!fclose(f))
		return text;
	free(text);
	return NULL;
}

/* --- the plan ---------------------------------------------------------------------------- */

bool firewall_plan_holds(const struct config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (firewall_rules_hold(c, i))
			return true;
	return false;
}

bool firewall_plan_has_v6(const struct config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t k = 0; k < c->listeners[i].n_addresses; k++)
			if (c->listeners[i].addresses[k].family == 6)
				return true;
	return false;
}

void firewall_place_of(const struct config *c, const struct firewall_host *host,
		       struct firewall_place *ret)
{
	*ret = (struct firewall_place){
		.divert_mark = c->firewall.divert_mark,
		.mask = c->firewall.mask,
		.marks = firewall_rules_marks(c),
		.route_table = c->firewall.route_table,
		.rule_priority = c->firewall.rule_priority,
		.v6 = host->v6,
		.held = firewall_plan_holds(c) && !host->queue,
	};
	snprintf(ret->table, sizeof(ret->table), "%s", c->firewall.table);
}

/* The same words add and delete. */
static void plan_rules(struct firewall_steps *steps, const struct firewall_place *p, char family,
		       const char *verb, const char *settled)
{
	uint32_t priority = p->rule_priority;

	step_run(steps, settled, "ip -%c rule %s pref %u iif lo fwmark %#x/%#x goto %u", family,
		 verb, priority, p->divert_mark, p->mask, priority + 2);
	for (uint32_t i = 0; i < p->marks; i++)
		step_run(steps, settled, "ip -%c rule %s pref %u fwmark %#x/%#x lookup %u", family,
			 verb, priority + 1, p->divert_mark + i, p->mask, p->route_table);
	step_run(steps, settled, "ip -%c rule %s pref %u nop", family, verb, priority + 2);
}

/* A chain of our own in iptables' table raw, with the table's name as far as that fits. */
static void plan_queues(struct firewall_steps *steps, const struct config *c,
			const struct firewall_place *p, const char *program)
{
	step_run(steps, "exists", "%s -t raw -N %.28s", program, p->table);
	step_run(steps, NULL, "%s -t raw -F %.28s", program, p->table);
	for (size_t i = 0; i < c->n_listeners; i++)
		if (firewall_rules_hold(c, i))
			step_run(steps, NULL,
				 "%s -t raw -A %.28s -m mark --mark %#x/%#x -j NFQUEUE "
				 "--queue-num %u%s",
				 program, p->table, firewall_rules_held_mark(c, i), p->mask,
				 c->listeners[i].queue,
				 c->firewall.when_down_pass ? " --queue-bypass" : "");
	step_run(steps, "exist", "%s -t raw -D PREROUTING -j %.28s", program, p->table);
	step_run(steps, NULL, "%s -t raw -A PREROUTING -j %.28s", program, p->table);
}

static void undo_queues(struct firewall_steps *steps, const struct firewall_place *p,
			const char *program)
{
	step_run(steps, "exist", "%s -t raw -D PREROUTING -j %.28s", program, p->table);
	step_run(steps, "No chain", "%s -t raw -F %.28s", program, p->table);
	step_run(steps, "No chain", "%s -t raw -X %.28s", program, p->table);
}

int firewall_plan(const struct config *c, const struct firewall_host *host,
		  struct firewall_place *ret_place, struct firewall_steps *ret, char *error,
		  size_t error_cap_bytes)
{
	int r = firewall_rules_check(c, error, error_cap_bytes);

	*ret = (struct firewall_steps){ 0 };
	if (r < 0)
		return r;
	firewall_place_of(c, host, ret_place);
	if (host->demux[0])
		step_write(ret, FIREWALL_DEMUX, strdup("0"), host->demux);
	step_write(ret, FIREWALL_PORTS, firewall_ports_add(host->ports, c), host->ports);
	for (char family = '4'; family <= (host->v6 ? '6' : '4'); family += 2) {
		step_run(ret, NULL, "ip -%c route replace local default dev lo table %u", family,
			 ret_place->route_table);
		plan_rules(ret, ret_place, family, "add", THERE);
	}
	if (ret_place->held)
		plan_queues(ret, c, ret_place, "iptables");
	if (ret_place->held && host->v6)
		plan_queues(ret, c, ret_place, "ip6tables");
	step_nft(ret, firewall_rules_print(c, host), NULL);
	if (!ret->no_memory)
		return 0;
	snprintf(error, error_cap_bytes, "out of memory");
	return -ENOMEM;
}

int firewall_undo(const struct firewall_place *p, struct firewall_steps *ret)
{
	char *script;

	*ret = (struct firewall_steps){ 0 };
	if (asprintf(&script, "add table inet %s\ndelete table inet %s\n", p->table, p->table) < 0)
		script = NULL;
	step_nft(ret, script, NO_NAME);
	for (char family = '4'; family <= (p->v6 ? '6' : '4'); family += 2) {
		plan_rules(ret, p, family, "del", GONE);
		step_run(ret, GONE, "ip -%c route del local default dev lo table %u", family,
			 p->route_table);
	}
	if (p->held)
		undo_queues(ret, p, "iptables");
	if (p->held && p->v6)
		undo_queues(ret, p, "ip6tables");
	return ret->no_memory ? -ENOMEM : 0;
}

void firewall_steps_print(const struct firewall_steps *steps, FILE *to)
{
	for (size_t i = 0; i < steps->n; i++) {
		const struct firewall_step *s = &steps->list[i];

		if (!s->line)
			fprintf(to, "echo '%s' >/proc/sys/net/ipv4/%s # was '%s'\n", s->value,
				s->name, s->was);
		else if (s->input)
			fprintf(to, "%s <<'EOF'\n%sEOF\n", s->line, s->input);
		else
			fprintf(to, "%s%s\n", s->line, s->settled ? " || :" : "");
	}
}
