/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DIALERS_H
#define ENGINE_DIALERS_H

#include "engine/config.h"
#include "engine/diag.h"
#include "engine/yaml.h"

/**
 * dialers_load() - the key `dialers`, with the files it names
 * @node:	checked by the schema; NULL: absent
 * @folder:	where relative paths start
 */
void dialers_load(struct yaml_node *node, const char *folder, struct config *c, struct diag *d);
void dialers_free(struct config *c);

/* The one called @name->text.  NULL: there is none, and that has been noted. */
const struct via *dialer_find(const struct config *c, const struct yaml_node *name,
			      struct diag *d);

#endif
