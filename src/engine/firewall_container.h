/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_CONTAINER_H
#define ENGINE_FIREWALL_CONTAINER_H

#include "engine/firewall_match.h"

/* Rules for a limpid in a container with a network of its own; none where that is not asked for. */

/* Do the rules of policy send everything there?  Return: 0, or -EINVAL with a sentence. */
int firewall_container_check(const struct config *c, char *error, size_t cap);

/* Does NAT bring there what limpid dials?  Else its dialer does. */
bool firewall_container_translates(const struct config *c);

/* What the limpid there dials is not intercepted again. */
void firewall_container_exempt(const struct firewall_writer *w);

/* The chains for what limpid dials. */
void firewall_container_print(const struct firewall_writer *w);

#endif
