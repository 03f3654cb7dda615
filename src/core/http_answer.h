/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HTTP_ANSWER_H
#define CORE_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "core/why.h"

/* What limpid itself says to clients of its HTTP proxy. */

#define HTTP_ANSWER_CAP 3072

/**
 * struct http_answer - one of them
 * @status:	as 502
 * @why:	said in words on the page, and as a word beside them
 * @about:	what was asked for, as it came; empty: nothing to be named
 * @text:	said instead of why_text(); NULL: that is
 * @fields:	further field lines, each with its CRLF; NULL: none
 * @error:	for programs (Proxy-Status, RFC 9209); NULL: that of @why
 * @no_body:	to HEAD: the same head, no page
 * @keep:	the connection goes on; else `Connection: close` is said
 */
struct http_answer {
	unsigned int status;
	enum why why;
	struct span about;
	const char *text;
	const char *fields;
	const char *error;
	bool no_body;
	bool keep;
};

/* The status that says why a request was not served (RFC 9110 section 15). */
unsigned int http_answer_status(enum why why);

/* A line "Date: Sat, 21 Nov 2026 17:15:00 GMT", of now (RFC 9110 section 6.6.1). */
#define HTTP_DATE_CAP 48
void http_date_format(char dst[static HTTP_DATE_CAP]);

/* Return: bytes written to @dst. */
size_t http_answer_format(const struct http_answer *a, char dst[static HTTP_ANSWER_CAP]);

#endif
