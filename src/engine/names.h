/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_NAMES_H
#define ENGINE_NAMES_H

#include "engine/config.h"
#include "engine/diag.h"
#include "engine/yaml.h"

/**
 * target_parse(), target_load() - what `listeners.to` says
 *
 * An address goes to @l->to, a name to @l->to_name.  What is wrong is noted in @d.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int target_parse(const char *text, struct listener_config *l);
void target_load(const struct yaml_node *to, struct listener_config *l, struct diag *d);

/**
 * endpoint_load() - "ip:port" or "name:port"
 * @ret:	the address; of a name, the port alone
 * @ret_name:	set if it is a name; the caller frees it
 *
 * What is wrong is noted in @d.
 */
void endpoint_load(const struct yaml_node *node, struct addr *ret, char **ret_name,
		   struct diag *d);

/* The key `resolver.servers`, @servers NULL if absent, to @ret. */
void resolver_servers_load(struct yaml_node *servers, struct resolver_settings *ret,
			   struct diag *d);

#endif
