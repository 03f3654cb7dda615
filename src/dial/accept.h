/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_ACCEPT_H
#define DIAL_ACCEPT_H

#include "core/parts.h"

/* Do not dial the target, wait for it: f->facts.bind. */
extern const struct dialer_ops accept_dialer_ops;

#endif
