/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_PLAN_H
#define ENGINE_FIREWALL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/config.h"

#define FIREWALL_PORTS "ip_local_reserved_ports" /* in /proc/sys/net/ipv4 */
#define FIREWALL_DEMUX "tcp_early_demux"

/**
 * struct firewall_host - what a plan needs to know of the host
 * @v6:		has IPv6
 * @demux:	tcp_early_demux as it is, "" where there is none
 * @ports:	ip_local_reserved_ports as they are
 * @queue:	nf_tables can queue packets; of interest where SYNs are to be held
 * @cgroups:	what nft wants in front of the path of a cgroup v2: "" or "unified/"
 */
struct firewall_host {
	bool v6, queue;
	char *demux;
	char *ports;
	const char *cgroups;
};

/**
 * struct firewall_place - what of a host is ours: enough to undo it
 * @marks:	how many marks are in use, @divert_mark and those behind it
 * @held:	rules of iptables bring SYNs to a queue
 */
struct firewall_place {
	char table[72];
	uint32_t divert_mark, mask, marks;
	uint32_t route_table, rule_priority;
	bool v6, held;
};

/**
 * struct firewall_step - one command, or one value written below /proc/sys/net/ipv4
 * @line:	the command, words separated by single blanks; NULL: write @value to @name
 * @input:	its standard input, or NULL
 * @settled:	what it may fail with, because then there is nothing to do; or NULL.  Parts of
 *		sentences, with | between them
 * @was:	the value before
 */
struct firewall_step {
	char *line;
	char *input;
	const char *settled;
	const char *name;
	char *value, *was;
};

struct firewall_steps {
	struct firewall_step *list;
	size_t n;
	bool no_memory;
};

/**
 * firewall_plan() - the steps that bring what the configuration intercepts to its listeners
 * @ret_place:	what these steps take
 * @ret:	always to be released
 * @error:	on failure a sentence for people
 *
 * The table comes last: nothing is diverted before it can arrive.
 *
 * Return: 0, -EINVAL (@error: this cannot be done), -ENOMEM.
 */
int firewall_plan(const struct config *c, const struct firewall_host *host,
		  struct firewall_place *ret_place, struct firewall_steps *ret, char *error,
		  size_t error_cap_bytes);

/* The steps that take everything of @place back but the values below /proc/sys. */
int firewall_undo(const struct firewall_place *place, struct firewall_steps *ret);

/* Where the plan of this configuration would be. */
void firewall_place_of(const struct config *c, const struct firewall_host *host,
		       struct firewall_place *ret);

/* Are there SYNs to be held? */
bool firewall_plan_holds(const struct config *c);

/* Does anybody listen for IPv6? */
bool firewall_plan_has_v6(const struct config *c);

/* As a shell script that does the same. */
void firewall_steps_print(const struct firewall_steps *steps, FILE *to);
void firewall_steps_done(struct firewall_steps *steps);

/**
 * firewall_ports_add() - "1000,2000-2010" and the ports of @c, as the kernel would print it
 *
 * Return: to be freed, or NULL: no memory.
 */
char *firewall_ports_add(const char *ports, const struct config *c);

#endif
