/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_IP_RAW_H
#define SYS_IP_RAW_H

#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"

/**
 * ip_raw_open() - a socket for packets of any source, IP header included
 * @family:	4 or 6
 * @mark:	SO_MARK, 0: none
 *
 * IPPROTO_RAW: it never receives anything, and costs nothing where others do.  Needs
 * CAP_NET_RAW.  Return: a non-blocking descriptor or -errno.
 */
int ip_raw_open(uint8_t family, uint32_t mark);

/**
 * ip_raw_send() - a whole packet, IP header first, to the ip of @to
 *
 * Return: 0 or -errno.
 */
int ip_raw_send(int fd, const struct addr *to, struct span packet);

#endif
