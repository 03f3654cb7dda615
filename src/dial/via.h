/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_VIA_H
#define DIAL_VIA_H

#include "core/parts.h"

/* Through one upstream proxy, or several one behind the other: f->plan.via. */
extern const struct dialer_ops via_dialer_ops;

#endif
