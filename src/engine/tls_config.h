/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TLS_CONFIG_H
#define ENGINE_TLS_CONFIG_H

#include "engine/config.h"
#include "engine/diag.h"
#include "engine/yaml.h"

/**
 * tls_entries_load() - the key `tls`, with the files it names
 * @node:	checked by the schema; NULL: absent
 * @folder:	where relative paths start
 */
void tls_entries_load(struct yaml_node *node, const char *folder, struct config *c, struct diag *d);
void tls_entries_free(struct config *c);

/* The key `tls` of the listener @map. */
void listener_tls_load(const struct yaml_node *map, const struct config *c,
		       struct listener_config *l, struct diag *d);

#endif
