/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A check is a function over what the host says and what the configuration asks for; it notes
 * one finding for each thing that it looked at, good ones, too.  The table says when a check is
 * of any interest; within, each looks only at what the configuration needs.  Nothing is changed
 * here, and no check depends on another: so the findings of one stay true whatever is cured
 * first.  Their cures do, too, when they are run in the order of the findings: iptables names a
 * rule that is replaced by its number, so what inserts another one before it comes last.
 *
 * `fail` is said only of what was seen not to work; `warn` of what breaks some traffic, or
 * depends on what cannot be seen from here.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "codec/json.h"
#include "engine/doctor/checks.h"
#include "engine/firewall_rules.h"

static bool serves(const struct examination *e)
{
	return e->config;
}

static bool takes_tproxy(const struct examination *e)
{
	return e->tproxy;
}

static bool intercepts(const struct examination *e)
{
	return e->tproxy || e->redirect;
}

static bool is_addressed(const struct examination *e)
{
	return e->explicit;
}

static bool is_honest(const struct examination *e)
{
	return e->honest;
}

static bool takes_routed(const struct examination *e)
{
	return e->routed;
}

static bool takes_from_here(const struct examination *e)
{
	return e->from_here;
}

static bool keeps_source(const struct examination *e)
{
	return e->keeps;
}

static bool runs(const struct examination *e)
{
	return !e->config;
}

static bool always(const struct examination *e)
{
	return true;
}

static const struct check {
	const char *name;
	bool (*applies)(const struct examination *e);
	void (*run)(struct examination *e);
} checks[] = {
	{ "programs", always, check_programs },
	{ "kernel", takes_tproxy, check_kernel },
	{ "run", runs, check_run },
	{ "user-namespaces", runs, check_user_namespaces },
	{ "loopback", always, check_loopback },
	{ "capabilities", serves, check_capabilities },
	{ "descriptors", always, check_descriptors },
	{ "pipes", always, check_pipes },
	{ "ports", serves, check_ports },
	{ "open-proxy", is_addressed, check_open_proxy },
	{ "conntrack", always, check_conntrack },
	{ "ipv6", serves, check_ipv6 },
	{ "forwarding", takes_routed, check_forwarding },
	{ "default-route", takes_from_here, check_default_route },
	{ "rp_filter", keeps_source, check_rp_filter },
	{ "src_valid_mark", takes_tproxy, check_src_valid_mark },
	{ "br_netfilter", takes_tproxy, check_bridge },
	{ "tcp_timestamps", keeps_source, check_timestamps },
	{ "early_demux", keeps_source, check_early_demux },
	{ "rules", intercepts, check_rules },
	{ "queue", is_honest, check_queue },
	{ "route_localnet", intercepts, check_route_localnet },
	{ "loop", intercepts, check_loop },
	{ "tunnels", takes_from_here, check_tunnels },
	{ "policy-routing", takes_tproxy, check_policy_routing },
	{ "return-path", keeps_source, check_return_path },
	{ "translation", takes_routed, check_translation },
	{ "socket-match", takes_tproxy, check_syn },
	{ "when-down", takes_tproxy, check_when_down },
	{ "marks", intercepts, check_marks },
	{ "input", intercepts, check_input },
};

const char *finding_status_name(enum finding_status s)
{
	switch (s) {
	case FINDING_OK:
		return "ok";
	case FINDING_WARN:
		return "warn";
	case FINDING_FAIL:
		return "fail";
	}
	return "?";
}

static void add(struct findings *f, struct finding *new)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 32;
		struct finding *grown = reallocarray(f->all, cap, sizeof(*grown));

		if (!grown) {
			f->no_memory = true;
			return;
		}
		f->all = grown;
		f->cap = cap;
	}
	f->all[f->n++] = *new;
	*new = (struct finding){ 0 };
}

static void finding_done(struct finding *f)
{
	free(f->subject);
	free(f->text);
	free(f->cure);
}

void note(struct examination *e, enum finding_status status, const char *subject, const char *cure,
	  const char *fmt, ...)
{
	struct finding new = { .status = status, .check = e->check };
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&new.text, fmt, args);
	va_end(args);
	if (n < 0)
		new.text = NULL;
	new.subject = strdup(subject);
	new.cure = strdup(cure);
	if (new.text &&new.subject &&new.cure)
		add(e->findings, &new);
	else
		e->findings->no_memory = true;
	finding_done(&new);
}

void findings_done(struct findings *f)
{
	for (size_t i = 0; i < f->n; i++)
		finding_done(&f->all[i]);
	free(f->all);
	*f = (struct findings){ 0 };
}

enum finding_status findings_worst(const struct findings *f)
{
	enum finding_status worst = FINDING_OK;

	for (size_t i = 0; i < f->n; i++)
		if (f->all[i].status > worst)
			worst = f->all[i].status;
	return worst;
}

/* Names of chains and interfaces are not ours: nothing of them may reach the terminal as more than
 * text. */
static void print_text(const char *text, FILE *to)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, to);
}

void findings_print(const struct findings *f, bool all, FILE *to)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct finding *one = &f->all[i];

		if (one->status == FINDING_OK && !all)
			continue;
		fprintf(to, "%-4s  %-15s  ", finding_status_name(one->status), one->check);
		print_text(one->subject, to);
		fputs(one->subject[0] ? ": " : "", to);
		print_text(one->text, to);
		fputs(one->cure[0] ? " -> " : "", to);
		print_text(one->cure, to);
		fputc('\n', to);
	}
}

void findings_print_json(const struct findings *f, bool all, FILE *to)
{
	const char *between = "\n ";

	fputc('[', to);
	for (size_t i = 0; i < f->n; i++) {
		const struct finding *one = &f->all[i];
		/* An escape is six bytes. */
		size_t cap =
			200 + 6 * (strlen(one->subject) + strlen(one->text) + strlen(one->cure));
		_cleanup_free_ char *line = NULL;
		struct json j;
		ssize_t n;

		if (one->status == FINDING_OK && !all)
			continue;
		line = malloc(cap);
		if (!line)
			continue;
		json_init(&j, line, cap);
		json_str(&j, "check", span_str(one->check));
		json_str(&j, "status", span_str(finding_status_name(one->status)));
		json_str(&j, "subject", span_str(one->subject));
		json_str(&j, "text", span_str(one->text));
		json_str(&j, "cure", span_str(one->cure));
		n = json_end(&j);
		fprintf(to, "%s%.*s", between, n > 0 ? (int)n : 0, line);
		between = ",\n ";
	}
	fputs("\n]\n", to);
}

/* What the configuration needs. */
static void look_at_config(struct examination *e)
{
	const struct config *c = e->config;

	for (size_t i = 0; c && i < c->n_listeners; i++) {
		const struct listener_config *l = &c->listeners[i];

		e->honest |= l->honest;
		e->tproxy |= l->mode == LISTENER_TPROXY;
		e->redirect |= listener_mode_is_translated(l->mode);
		e->explicit |= listener_mode_is_explicit(l->mode);
		if (!listener_mode_intercepts(l->mode) && !firewall_rules_bring(c, i, ~0u))
			continue;
		for (size_t k = 0; k < l->n_addresses; k++)
			e->families |= l->addresses[k].family == 6 ? FAMILY_V6 : FAMILY_V4;
	}
	for (size_t i = 0; c && i < c->firewall.n_intercept; i++) {
		const struct firewall_match *m = &c->firewall.intercept[i];

		e->routed |= m->traffic & 1u << FIREWALL_ROUTED &&
			     c->listeners[m->listener].mode == LISTENER_TPROXY;
		e->from_here |= !!(m->traffic & FIREWALL_FROM_HERE);
	}
	for (size_t i = 0; c && i < c->policy->n_rules; i++)
		if (c->policy->rules[i].verdict == VERDICT_ACCEPT)
			e->keeps |= c->policy->rules[i].plan.source != SOURCE_OWN;
}

/* Otherwise as they were found. */
static void insertions_last(struct findings *f)
{
	for (size_t i = 0, left = f->n; left; left--) {
		struct finding one = f->all[i];

		if (!strstr(one.cure, " -I ")) {
			i++;
			continue;
		}
		memmove(&f->all[i], &f->all[i + 1], (f->n - i - 1) * sizeof(one));
		f->all[f->n - 1] = one;
	}
}

int doctor_examine(const struct host *host, const struct config *config, const char *path,
		   struct findings *ret)
{
	struct examination e = { .host = host, .config = config, .path = path, .findings = ret };

	*ret = (struct findings){ 0 };
	e.chains = chains_new(host);
	if (!e.chains)
		return -ENOMEM;
	look_at_config(&e);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		e.check = checks[i].name;
		if (checks[i].applies(&e))
			checks[i].run(&e);
	}
	chains_free(e.chains);
	insertions_last(ret);
	return ret->no_memory ? -ENOMEM : 0;
}
