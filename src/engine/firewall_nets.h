/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_NETS_H
#define ENGINE_FIREWALL_NETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/config.h"

/* The networks that entries of the firewall name, as named sets of nft: netsN-v4, netsN-v6. */
struct firewall_nets {
	const struct netset **list;
	size_t n;
};

/* @ret->list is to be freed.  Return: 0 or -ENOMEM. */
int firewall_nets_gather(const struct firewall_config *f, struct firewall_nets *ret);

/* The N of @nets, which has been gathered. */
size_t firewall_nets_index(const struct firewall_nets *all, const struct netset *nets);

/* Is there anything of @family in @nets?  NULL is everything. */
bool firewall_nets_have(const struct netset *nets, uint8_t family);

void firewall_nets_print(const struct firewall_nets *all, bool v6, FILE *to);

#endif
