/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_DIRECT_H
#define DIAL_DIRECT_H

#include "core/parts.h"

/* Connect to the target itself, from the source address that the plan asks for. */
extern const struct dialer_ops direct_dialer_ops;

#endif
