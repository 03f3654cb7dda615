/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_SOURCE_H
#define DIAL_SOURCE_H

#include "core/flow.h"

/**
 * source_connect() - begin to connect to @target from the address that @plan asks for
 *
 * What cannot be had falls to the next best and is counted, unless @plan is strict.  Return: the
 * descriptor with @ret set, or -errno.
 */
int source_connect(struct flow *f, const struct addr *target, const struct plan *plan,
		   enum source_got *ret);

#endif
