/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FIREWALL_RULES_H
#define ENGINE_FIREWALL_RULES_H

#include "engine/firewall_plan.h"

/**
 * firewall_rules_check() - can the configuration be turned into rules at all?
 * @error:	a sentence for people, and what to do
 *
 * Return: 0 or -EINVAL.
 */
int firewall_rules_check(const struct config *c, char *error, size_t error_cap_bytes);

/* The table in nft's language.  Return: to be freed, or NULL: no memory. */
char *firewall_rules_print(const struct config *c, const struct firewall_host *host);

/* How many marks the rules use: one for what comes from elsewhere, one for each tproxy listener
 * with an entry for what this host sends. */
uint32_t firewall_rules_marks(const struct config *c);

/* The mark of what this host sends and @listener is to get. */
uint32_t firewall_rules_mark(const struct config *c, size_t listener);

/* Do the rules bring anything of @traffic to the listener? */
bool firewall_rules_bring(const struct config *c, size_t listener, uint32_t traffic);

/* Does the listener hold SYNs that these rules bring? */
bool firewall_rules_hold(const struct config *c, size_t listener);

/* The mark that brings them to a rule of iptables; for the number of listeners, the first mark
 * that is not needed. */
uint32_t firewall_rules_held_mark(const struct config *c, size_t listener);

#endif
