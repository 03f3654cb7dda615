/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HTTP_EXCHANGE_H
#define CORE_HTTP_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "core/why.h"

/**
 * struct http_exchange - one request to an HTTP proxy and its answer, when it is over
 * @url:	as the client sent it
 * @status:	what the client was told; 0: nothing
 * @minor:	HTTP/1.@minor of the client
 * @up_bytes, @down_bytes: of content
 * @served:	by a server, whose connection is still there
 * @why:	WHY_FINISHED, or what went wrong
 *
 * Target, name, user, decision, plan and source are those of the flow at that moment.  Spans are
 * cut to what a record shows, and valid during the call.
 */
struct http_exchange {
	struct span method, url, user_agent, content_type;
	unsigned int status;
	unsigned int minor;
	uint64_t start_us;
	uint64_t up_bytes, down_bytes;
	bool served;
	enum why why;
};

#endif
