/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_EYEBALLS_H
#define DIAL_EYEBALLS_H

#include "core/parts.h"

/* Targets that are names: resolve, then connect to whichever address answers first (Happy
 * Eyeballs v2, RFC 8305). */
extern const struct dialer_ops eyeballs_dialer_ops;

#endif
