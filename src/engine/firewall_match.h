/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_MATCH_H
#define ENGINE_FIREWALL_MATCH_H

#include "engine/firewall_nets.h"
#include "engine/firewall_plan.h"

/* Rules on their way into a text. */
struct firewall_writer {
	FILE *f;
	const struct config *c;
	const struct firewall_host *host;
	struct firewall_nets nets;
	bool holding; /* what is written is the chain that holds SYNs */
};

#define FIREWALL_NAT_PRIORITY (-110) /* before dstnat (-100), where others have theirs */

extern const char *const firewall_family_words[7]; /* "ip", "ip6", by family */

/* Can an address of @family be what @m asks for? */
bool firewall_match_has(const struct firewall_match *m, uint8_t family);

/* "meta l4proto tcp " */
void firewall_networks_print(const struct firewall_writer *w, uint32_t networks);

/**
 * firewall_match_print() - the conditions of one rule, up to its verdict
 * @all:	the kinds of traffic that the hook sees, FIREWALL_FROM_ELSEWHERE or _HERE
 * @family:	0: either, where @m names no networks
 * @cgroup:	one of @m's; NULL if it has none
 */
void firewall_match_print(const struct firewall_writer *w, const struct firewall_match *m,
			  uint32_t all, uint8_t family, const char *cgroup);

#endif
