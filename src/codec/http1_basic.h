/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_HTTP1_BASIC_H
#define CODEC_HTTP1_BASIC_H

#include <stdint.h>

#include "base/span.h"

/* Room for the longest name and password that are decoded, with the colon. */
#define HTTP1_BASIC_CAP 1024

/**
 * http1_basic_parse() - what `Proxy-Authorization: Basic …` says
 * @value:	of the field
 * @room:	where it is decoded; @ret_user and @ret_password point into it
 *
 * Source: RFC 7617 section 2, RFC 4648 section 4 (strict: padding is there, and no other bytes).
 * Return: 0, -EINVAL (another scheme, or malformed), -EMSGSIZE.
 */
int http1_basic_parse(struct span value, uint8_t room[static HTTP1_BASIC_CAP],
		      struct span *ret_user, struct span *ret_password);

#endif
