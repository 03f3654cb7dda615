/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_ROUTE_H
#define SYS_ROUTE_H

#include <stdint.h>

#include "base/addr.h"

/**
 * route_source() - the own address that the kernel would send from
 * @to:		ip and port
 * @mark:	SO_MARK, which rules may route by; 0: none
 *
 * Sends nothing: a UDP socket is connected and asked.  Return: 0, or -errno when there is no way.
 */
int route_source(const struct addr *to, uint32_t mark, struct addr *ret);

#endif
