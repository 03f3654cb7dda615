/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_HTTP1_CONNECT_H
#define CODEC_HTTP1_CONNECT_H

#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "codec/codec.h"

/* Room for a request to the longest name with the longest user and password. */
#define HTTP1_CONNECT_CAP 2048
#define HTTP1_CONNECT_LOGIN_MAX_BYTES 255 /* of each */

/**
 * http1_connect_write() - what a client says to its proxy (RFC 9110 section 9.3.6)
 * @to:		the target, or with @name its port alone
 * @user, @password: for Basic authentication (RFC 7617); @user NULL: none
 *
 * Return: bytes, or -EINVAL: user or password is too long.
 */
int http1_connect_write(char dst[static HTTP1_CONNECT_CAP], const struct addr *to, const char *name,
			const char *user, const char *password);

/**
 * http1_status_parse() - the head of an answer: its status, and where the head ends
 *
 * Field lines are not looked at.  Lines end in LF, with or without CR before it (RFC 9112 section
 * 2.2).  CODEC_BAD: this is no HTTP/1.
 */
enum codec_result http1_status_parse(struct span in, uint16_t *ret_status, size_t *ret_head_bytes);

#endif
