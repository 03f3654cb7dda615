/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_USERS_CONFIG_H
#define ENGINE_USERS_CONFIG_H

#include "engine/config.h"
#include "engine/diag.h"
#include "engine/yaml.h"

/* Read the files of the `users` of a configuration; what is wrong is noted in @d. */
void users_config_load(struct yaml_node *node, const char *folder, struct config *c,
		       struct diag *d);

/* `users: NAME` of a listener; NULL where it names none. */
struct users *users_config_find(const struct yaml_node *name, const struct config *c,
				struct diag *d);

#endif
