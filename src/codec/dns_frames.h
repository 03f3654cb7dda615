/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DNS_FRAMES_H
#define CODEC_DNS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "codec/codec.h"

/**
 * struct dns_frames - messages in a stream, each with its length in front
 * @kept:	the first bytes of a message that has come in part; 65535 at most
 * @length:	of the message, once @n_length is 2
 * @came_bytes:	how much of it has come
 * @likely:	its header has been looked at
 * @given:	the caller has it
 *
 * Zero is the start of a stream; between two messages it owns nothing.  Give it back with
 * buf_done(&kept).
 */
struct dns_frames {
	struct buf kept;
	size_t came_bytes;
	uint16_t length;
	uint8_t n_length;
	bool likely, given;
};

/**
 * dns_frames_next() - one message more
 * @in:		what comes next in the stream; what has been dealt with is taken from its front
 * @wanted_bytes: as much of a message as the caller looks at; what is behind is not kept.  A
 *		message that was begun when less was wanted may be given shorter
 * @ret:	the message, or its first bytes; valid until the next call, while @in's memory is
 *
 * Call it again until it says CODEC_MORE: @in is then empty.  CODEC_BAD: this is no DNS (a message
 * is shorter than its header, or than what that says is in it), or memory is missing; final.
 * Never CODEC_OTHER.
 *
 * Source: RFC 1035 section 4.2.2, RFC 7766 section 8.
 */
enum codec_result dns_frames_next(struct dns_frames *f, struct span *in, size_t wanted_bytes,
				  struct span *ret);

#endif
