/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_REGISTRY_H
#define ENGINE_REGISTRY_H

#include "core/listener.h"
#include "engine/config.h"

/* What flows are made of. */
struct parts registry_parts(void);

/* The learners of a listener, in order; their configuration is borrowed from @c. */
void registry_set_learners(struct listener *l, const struct listener_config *c);

#endif
