/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PROXY_CONFIG_H
#define ENGINE_PROXY_CONFIG_H

#include "engine/config.h"
#include "engine/diag.h"
#include "engine/sets.h"
#include "engine/yaml.h"

/* What a listener, whose mode is known, says about headers of the PROXY protocol. */
void proxy_config_load(const struct yaml_node *map, struct listener_config *l, struct diag *d);

/* Whom the listeners of @c trust; the networks are its policy's. */
void proxy_config_trust(struct yaml_node *listeners, struct sets *sets, struct config *c);

#endif
