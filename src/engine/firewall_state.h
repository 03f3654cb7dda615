/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_STATE_H
#define ENGINE_FIREWALL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/firewall_plan.h"

/* A value below /proc/sys/net/ipv4 that we changed. */
struct firewall_value {
	char *was, *set;
};

enum { FIREWALL_VALUE_DEMUX, FIREWALL_VALUE_PORTS, FIREWALL_VALUES };

/**
 * struct firewall_state - what has to be undone, as it is kept in a file
 * @cookie:	of the network namespace it is about
 * @owner:	whose it is: 0 for set up by hand
 * @values:	.set is NULL where nothing was changed
 */
struct firewall_state {
	uint64_t cookie;
	uint64_t owner;
	struct firewall_place place;
	struct firewall_value values[FIREWALL_VALUES];
};

extern const char *const firewall_value_names[FIREWALL_VALUES];

/**
 * firewall_state_read() - what was kept
 *
 * Return: 0, -ENOENT (nothing was), -EBADMSG (not ours, or cut), or another -errno.
 */
int firewall_state_read(const char *path, struct firewall_state *ret);

/* Keep it, whole or not at all.  Return: 0 or -errno. */
int firewall_state_write(const char *path, const struct firewall_state *s);

void firewall_state_done(struct firewall_state *s);

#endif
