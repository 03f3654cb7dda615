/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_COMMUNITY_ID_H
#define CODEC_COMMUNITY_ID_H

#include <stdint.h>

#include "base/addr.h"

#define COMMUNITY_ID_CAP 32

/**
 * community_id() - the flow hash other tools compute too: "1:" and 28 characters
 * @ret:	NUL-terminated; "" when the ends are not of one family or there is no digest
 * @src, @dst:	the two ends, in either order
 * @ip_proto:	6, 17, 132: with ports; other protocols without, except ICMP, whose ids would
 *		need type and code: not supported
 *
 * Seed 0.  Source: Community ID Flow Hashing, version 1 (Corelight).
 */
void community_id(char ret[static COMMUNITY_ID_CAP], const struct addr *src, const struct addr *dst,
		  uint8_t ip_proto);

#endif
