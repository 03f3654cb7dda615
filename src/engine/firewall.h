/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_H
#define ENGINE_FIREWALL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/config.h"

#define FIREWALL_BY_HAND 0

/* What would be done, as a shell script.  Return: 0 or -errno with a sentence in @error. */
int firewall_print(const struct config *c, FILE *to, char *error, size_t error_cap_bytes);

/**
 * firewall_up() - bring what the configuration intercepts to its listeners
 * @owner:	FIREWALL_BY_HAND, or whatever firewall_down_of() is to be called with
 * @ret_held_fd: NULL, or a descriptor: while it is open nobody else can call this; to be closed
 *		once the rules have been taken back
 * @error:	on failure a sentence for people
 *
 * May be called again, with another configuration too.  What somebody left behind who was
 * killed is taken back first.  On failure nothing is left.
 *
 * Return: 0, -EBUSY: somebody else's rules are held, or another -errno.
 */
int firewall_up(const struct config *c, uint64_t owner, int *ret_held_fd, char *error,
		size_t error_cap_bytes);

/* Take it back, whoever set it up.  Nothing there is fine. */
int firewall_down(const struct config *c, char *error, size_t error_cap_bytes);

/* Take it back only if it is still @owner's. */
int firewall_down_of(uint64_t owner, char *error, size_t error_cap_bytes);

#endif
