/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_CONFIG_H
#define ENGINE_FIREWALL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/policy.h"
#include "engine/diag.h"
#include "engine/sets.h"
#include "engine/yaml.h"

struct config;

/* Where traffic comes from and goes to, seen from this host. */
enum firewall_traffic {
	FIREWALL_ROUTED,   /* from elsewhere to elsewhere */
	FIREWALL_INBOUND,  /* from elsewhere to an address of this host */
	FIREWALL_LOCAL,	   /* from this host to elsewhere */
	FIREWALL_LOOPBACK, /* from this host to an address of its own */
};

#define FIREWALL_FROM_ELSEWHERE (1u << FIREWALL_ROUTED | 1u << FIREWALL_INBOUND)
#define FIREWALL_FROM_HERE (1u << FIREWALL_LOCAL | 1u << FIREWALL_LOOPBACK)

/**
 * struct firewall_match - what one entry of `intercept` or `exempt` asks; all of it must hold
 * @listener:	intercept: index of the listener that gets it
 * @traffic:	1 << enum firewall_traffic; never 0
 * @networks:	1 << enum network; never 0
 * @interfaces:	names; where it comes in, for traffic from here where it goes out
 * @cgroups:	paths below the cgroup v2 root, without a slash in front
 *
 * An empty list and a NULL set ask nothing.
 */
struct firewall_match {
	size_t listener;
	uint32_t traffic;
	uint32_t networks;
	char **interfaces;
	size_t n_interfaces;
	const struct netset *source, *destination; /* the policy's */
	struct port_range *ports;
	size_t n_ports;
	uint32_t *users;
	size_t n_users;
	char **cgroups;
	size_t n_cgroups;
};

/* The section `firewall`; the mark of our own sockets is config.mark.  @container, which is said on
 * the command line: where a limpid listens to which this host's only forwards; .family 0: none */
struct firewall_config {
	char *table;
	uint32_t divert_mark;
	uint32_t mask;
	uint32_t route_table;
	uint32_t rule_priority;
	int priority; /* of the nft chains */
	uint32_t when_down_pass;
	struct firewall_match *intercept; /* with those that go without saying */
	size_t n_intercept;
	struct firewall_match *exempt;
	size_t n_exempt;
	struct addr container;
	bool inbound; /* some entry of @intercept says so */
};

/**
 * firewall_compile() - the lists of the section `firewall`
 * @node:	checked by the schema; NULL: none
 * @c:		its listeners and the numbers of its section are known already
 *
 * Without `intercept`, each tproxy listener gets routed traffic and each redirect listener what
 * this host sends.  What is wrong is noted in @d.
 */
void firewall_compile(struct yaml_node *node, struct config *c, struct sets *sets, struct diag *d);

void firewall_config_done(struct firewall_config *f);

#endif
