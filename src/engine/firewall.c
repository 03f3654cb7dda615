/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What has to be undone is written down before anything is done, in a file for each network
 * namespace, so that whoever comes next (down, the guard, another up) can undo it, however the
 * one who did it ended.  A lock on the folder keeps them apart; the commands that are run hold
 * it, too, because one may still be at work when we have been killed.  A file of a namespace that
 * is gone, whose number came round again, shows by its cookie.
 *
 * Who serves while its rules are there keeps its file locked, which ends with it, whatever ends
 * it, and is seen from other containers, too.  As long as it lives nobody else sets up rules in
 * the same namespace: routes, marks and values below /proc/sys cannot be two people's.
 *
 * A value below /proc/sys is put back only while it is what we made of it: if somebody has
 * changed it since, it is theirs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/firewall.h"
#include "engine/firewall_plan.h"
#include "engine/firewall_state.h"
#include "sys/command.h"
#include "sys/host.h"

#define FOLDER "/run/limpid"
#define BELOW "net/ipv4/"

/* Where the sentence about a failure goes. */
struct complaint {
	char *text;
	size_t cap_bytes;
};

/* One call at work, alone. */
struct session {
	struct complaint complaint;
	struct firewall_host host;
	struct firewall_state state; /* what was kept; .place.table is "" where nothing was */
	uint64_t cookie;
	char path[64];
	int lock;
};

__attribute__((format(printf, 3, 4))) static int failed(const struct complaint *c, int r,
							const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->text, c->cap_bytes, fmt, args);
	va_end(args);
	return r;
}

static void host_done(struct firewall_host *h)
{
	free(h->demux);
	free(h->ports);
}

static int host_look(struct firewall_host *ret)
{
	int r;

	*ret = (struct firewall_host){ .v6 = host_has_v6(), .cgroups = host_cgroup_prefix() };
	r = host_value_read(BELOW FIREWALL_PORTS, &ret->ports);
	if (r < 0)
		return r;
	if (host_value_read(BELOW FIREWALL_DEMUX, &ret->demux) < 0)
		ret->demux = strdup("");
	return ret->demux ? 0 : -ENOMEM;
}

static void session_done(struct session *s)
{
	if (s->lock >= 0)
		close(s->lock);
	host_done(&s->host);
	firewall_state_done(&s->state);
}

static int session_lock(struct session *s)
{
	if (mkdir(FOLDER, 0755) < 0 && errno != EEXIST)
		return failed(&s->complaint, -errno, "cannot make %s: %m", FOLDER);
	s->lock = open(FOLDER, O_RDONLY | O_DIRECTORY); /* the commands inherit it */
	if (s->lock < 0)
		return failed(&s->complaint, -errno, "cannot open %s: %m", FOLDER);
	while (flock(s->lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return failed(&s->complaint, -errno, "cannot lock %s: %m", FOLDER);
	return 0;
}

/* The kernel is asked; nothing is changed. */
static bool nft_can_queue(void)
{
	static const char probe[] = "table inet limpid-probe { chain c { "
				    "type filter hook prerouting priority 0; queue num 0; }; }\n";
	struct command command;
	char said[8];

	return !command_begin(&command, "nft -c -f -", probe) &&
	       !command_end(&command, said, sizeof(said));
}

/* To be followed by session_done() in any case. */
static int session_open(struct session *s, char *error, size_t cap)
{
	uint64_t inode;
	int r;

	*s = (struct session){ .lock = -1, .complaint = { error, cap } };
	if (!host_may_admin_net())
		return failed(&s->complaint, -EPERM,
			      "changing the firewall needs CAP_NET_ADMIN: run it as root");
	r = host_namespace(&inode, &s->cookie);
	if (r < 0)
		return failed(&s->complaint, r, "cannot look at the network namespace: %s",
			      strerror(-r));
	snprintf(s->path, sizeof(s->path), FOLDER "/firewall-%" PRIu64, inode);
	r = session_lock(s);
	if (r < 0)
		return r;
	r = host_look(&s->host);
	if (r < 0)
		return failed(&s->complaint, r, "cannot read %s: %s", FIREWALL_PORTS, strerror(-r));
	r = firewall_state_read(s->path, &s->state);
	if (!r && s->state.cookie != s->cookie)
		firewall_state_done(&s->state);
	return r == -EBADMSG  ? failed(&s->complaint, r,
				       "%s is damaged: remove it (the values in it are then not "
					"restored)",
				       s->path)
	       : r == -ENOENT ? 0
	       : r < 0 ? failed(&s->complaint, r, "cannot read %s: %s", s->path, strerror(-r))
		       : 0;
}

/* --- doing -------------------------------------------------------------------------------- */

/* Half-way would be too late to find that one is not there. */
static int programs_find(const struct firewall_steps *steps, const struct complaint *c)
{
	static const char *const programs[][2] = { { "nft ", "nftables" },
						   { "ip ", "iproute2" },
						   { "iptables ", "iptables" },
						   { "ip6tables ", "iptables" } };

	for (size_t i = 0; i < steps->n; i++)
		for (size_t k = 0; k < ARRAY_SIZE(programs) && steps->list[i].line; k++) {
			size_t len = strlen(programs[k][0]);
			char name[16];

			if (strncmp(steps->list[i].line, programs[k][0], len) != 0)
				continue;
			snprintf(name, sizeof(name), "%.*s", (int)len - 1, programs[k][0]);
			if (!command_exists(name))
				return failed(c, -ENOENT,
					      "the program %s was not found in PATH, /usr/sbin or "
					      "/sbin; cure: install the package %s",
					      name, programs[k][1]);
		}
	return 0;
}

/* Is one of @parts, as firewall_step.settled has them, in what was @said? */
static bool is_settled(const char *parts, const char *said)
{
	while (parts && *parts) {
		size_t len = strcspn(parts, "|");

		if (memmem(said, strlen(said), parts, len))
			return true;
		parts += len + (parts[len] == '|');
	}
	return false;
}

static int run_command(const struct firewall_step *step, const struct complaint *c)
{
	struct command command;
	char said[256];
	int r = command_begin(&command, step->line, step->input);

	if (r < 0)
		return failed(c, r, "cannot run '%s': %s", step->line, strerror(-r));
	r = command_end(&command, said, sizeof(said));
	if (r == -EPROTO && is_settled(step->settled, said))
		return 0;
	return r < 0 ? failed(c, r, "'%s' failed: %s", step->line, said[0] ? said : strerror(-r))
		     : 0;
}

/* What cannot be written may already be as it should be. */
static int run_write(const struct firewall_step *step, const struct complaint *c)
{
	_cleanup_free_ char *now = NULL;
	char path[96];
	int r;

	snprintf(path, sizeof(path), BELOW "%s", step->name);
	r = host_value_write(path, step->value);
	if (r < 0 && !host_value_read(path, &now) && !strcmp(now, step->value))
		r = 0;
	return r < 0 ? failed(c, r, "cannot write '%s' to /proc/sys/%s: %s", step->value, path,
			      strerror(-r))
		     : 0;
}

/* Up to the first that fails. */
static int steps_run(const struct firewall_steps *steps, const struct complaint *c)
{
	int r = 0;

	for (size_t i = 0; i < steps->n && !r; i++)
		r = steps->list[i].line ? run_command(&steps->list[i], c)
					: run_write(&steps->list[i], c);
	return r;
}

/* With what nft does not take, the rules that are there already stay. */
static int rules_try(const struct firewall_steps *steps, const struct complaint *c)
{
	char dry[] = "nft -c -f -";
	int r = 0;

	for (size_t i = 0; i < steps->n && !r; i++)
		if (steps->list[i].input)
			r = run_command(&(struct firewall_step){ .line = dry,
								 .input = steps->list[i].input },
					c);
	return r;
}

/* --- undoing ------------------------------------------------------------------------------ */

static int values_restore(const struct firewall_state *state, const struct complaint *c)
{
	int r = 0;

	for (size_t i = 0; i < FIREWALL_VALUES; i++) {
		const struct firewall_value *v = &state->values[i];
		_cleanup_free_ char *now = NULL;
		struct firewall_step step = { .name = firewall_value_names[i], .value = v->was };
		char path[96];
		int failure;

		snprintf(path, sizeof(path), BELOW "%s", step.name);
		if (!v->set || !v->was || host_value_read(path, &now) < 0 || strcmp(now, v->set))
			continue;
		failure = run_write(&step, c);
		r = r ? r : failure;
	}
	return r;
}

/* As much as can be; the first failure is the one that is told. */
static int undo(struct session *s, const struct firewall_place *place,
		const struct firewall_state *state)
{
	struct complaint unheard = { .text = (char[8]){ 0 }, .cap_bytes = 8 };
	struct firewall_steps steps;
	int r = firewall_undo(place, &steps);

	if (r < 0)
		r = failed(&s->complaint, r, "out of memory");
	else
		r = programs_find(&steps, &s->complaint);
	if (r < 0) {
		firewall_steps_done(&steps);
		return r;
	}
	for (size_t i = 0; i < steps.n; i++) {
		struct firewall_steps one = { .list = &steps.list[i], .n = 1 };
		int failure = steps_run(&one, r ? &unheard : &s->complaint);

		r = r ? r : failure;
	}
	firewall_steps_done(&steps);
	if (state) {
		int failure = values_restore(state, r ? &unheard : &s->complaint);

		r = r ? r : failure;
	}
	if (!r && unlink(s->path) < 0 && errno != ENOENT)
		r = failed(&s->complaint, -errno, "cannot remove %s: %m", s->path);
	return r;
}

static bool place_eq(const struct firewall_place *a, const struct firewall_place *b)
{
	return !strcmp(a->table, b->table) && a->divert_mark == b->divert_mark &&
	       a->mask == b->mask && a->marks == b->marks && a->route_table == b->route_table &&
	       a->rule_priority == b->rule_priority && a->v6 == b->v6 && a->held == b->held;
}

/* --- the verbs ---------------------------------------------------------------------------- */

int firewall_print(const struct config *c, FILE *to, char *error, size_t cap)
{
	struct complaint complaint = { error, cap };
	struct firewall_host host;
	struct firewall_place place;
	struct firewall_steps steps = { 0 };
	int r = host_look(&host);

	host.v6 = host.v6 && firewall_plan_has_v6(c);
	host.queue = !r && firewall_plan_holds(c) && nft_can_queue();
	if (r < 0)
		failed(&complaint, r, "cannot read %s: %s", FIREWALL_PORTS, strerror(-r));
	else
		r = firewall_plan(c, &host, &place, &steps, error, cap);
	if (!r)
		firewall_steps_print(&steps, to);
	firewall_steps_done(&steps);
	host_done(&host);
	return r;
}

/* What is going to be changed, and what it was before we ever did. */
static int state_make(const struct session *s, const struct firewall_steps *steps,
		      struct firewall_state *ret)
{
	const char *const now[FIREWALL_VALUES] = { s->host.demux, s->host.ports };

	for (size_t i = 0; i < steps->n; i++)
		for (size_t k = 0; k < FIREWALL_VALUES; k++) {
			const struct firewall_value *old = &s->state.values[k];
			bool ours = old->set && old->was && !strcmp(old->set, now[k]);

			if (steps->list[i].line ||
			    strcmp(steps->list[i].name, firewall_value_names[k]) != 0)
				continue;
			ret->values[k].set = strdup(steps->list[i].value);
			ret->values[k].was = strdup(ours ? old->was : now[k]);
			if (!ret->values[k].set || !ret->values[k].was)
				return -ENOMEM;
		}
	return 0;
}

/* Its owner is alive if the file is locked. */
static int refuse_if_held(const struct session *s)
{
	_cleanup_close_ int fd = open(s->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)
		return 0;
	return failed(&s->complaint, -EBUSY,
		      "another limpid that runs has its rules here (table inet %s): a network "
		      "namespace has the rules of one at a time; stop that one, or put the "
		      "listeners of both into one configuration",
		      s->state.place.table);
}

static int hold(const struct session *s, int *ret_held_fd)
{
	_cleanup_close_ int fd = open(s->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return failed(&s->complaint, -errno, "cannot lock %s: %m", s->path);
	*ret_held_fd = TAKE_FD(fd);
	return 0;
}

static int up(struct session *s, const struct config *c, uint64_t owner, int *ret_held_fd)
{
	_cleanup_close_ int held_fd = -1;
	struct firewall_state state = { .cookie = s->cookie, .owner = owner };
	struct complaint unheard = { .text = (char[256]){ 0 }, .cap_bytes = 256 };
	struct firewall_steps steps;
	bool elsewhere;
	int r = firewall_plan(c, &s->host, &state.place, &steps, s->complaint.text,
			      s->complaint.cap_bytes);

	elsewhere = s->state.place.table[0] && !place_eq(&s->state.place, &state.place);
	if (!r)
		r = programs_find(&steps, &s->complaint);
	if (!r && s->state.place.table[0])
		r = rules_try(&steps, &s->complaint);
	if (!r)
		r = state_make(s, &steps, &state);
	if (!r && elsewhere) /* what was before we ever came stays known */
		r = undo(s, &s->state.place, NULL);
	if (!r) {
		r = firewall_state_write(s->path, &state);
		if (r < 0)
			failed(&s->complaint, r, "cannot write %s: %s", s->path, strerror(-r));
	}
	if (!r && ret_held_fd)
		r = hold(s, &held_fd);
	if (!r) {
		r = steps_run(&steps, &s->complaint);
		if (r < 0) {
			struct complaint told = s->complaint;

			s->complaint = unheard;
			undo(s, &state.place, &state);
			s->complaint = told;
		}
	}
	firewall_steps_done(&steps);
	firewall_state_done(&state);
	if (!r && ret_held_fd)
		*ret_held_fd = TAKE_FD(held_fd);
	return r;
}

int firewall_up(const struct config *c, uint64_t owner, int *ret_held_fd, char *error, size_t cap)
{
	struct session s;
	int r = session_open(&s, error, cap);

	if (!r)
		r = refuse_if_held(&s);
	s.host.v6 = s.host.v6 && firewall_plan_has_v6(c);
	s.host.queue = !r && firewall_plan_holds(c) && nft_can_queue();
	if (!r)
		r = up(&s, c, owner, ret_held_fd);
	session_done(&s);
	return r;
}

int firewall_down(const struct config *c, char *error, size_t cap)
{
	struct firewall_place place;
	struct session s;
	int r = session_open(&s, error, cap);

	if (!r) {
		s.host.v6 = s.host.v6 && firewall_plan_has_v6(c);
		firewall_place_of(c, &s.host, &place);
		r = s.state.place.table[0] ? undo(&s, &s.state.place, &s.state)
					   : undo(&s, &place, NULL);
	}
	session_done(&s);
	return r;
}

int firewall_down_of(uint64_t owner, char *error, size_t cap)
{
	struct session s;
	int r = session_open(&s, error, cap);

	if (!r && s.state.place.table[0] && s.state.owner == owner)
		r = undo(&s, &s.state.place, &s.state);
	session_done(&s);
	return r;
}
