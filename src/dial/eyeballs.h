/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_EYEBALLS_H
#define DIAL_EYEBALLS_H

#include <stdint.h>

#include "core/parts.h"

struct plan;

struct eyeballs;

/**
 * eyeballs_new() - connect to a name that is not the flow's target
 * @name, @plan: borrowed for as long as it lives; @plan says from where
 *
 * Policy is not asked.  NULL: no memory.
 */
struct eyeballs *eyeballs_new(struct flow *f, const char *name, uint16_t port,
			      const struct plan *plan);

/* Return: 0, begun; -errno, failed. */
int eyeballs_begin(struct eyeballs *e);

/* When the flow runs: 0, f->server is connected and watched; -EAGAIN; another -errno, failed. */
int eyeballs_step(struct eyeballs *e);

void eyeballs_free(struct eyeballs *e);

/* Targets that are names: resolve, then connect to whichever address answers first (Happy
 * Eyeballs v2, RFC 8305). */
extern const struct dialer_ops eyeballs_dialer_ops;

#endif
