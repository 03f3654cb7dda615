/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/span.h"

/**
 * struct json - one object being written on one line
 *
 * json_init(), then fields and nested objects in any order, json_end().  What does not fit is
 * left out and json_end() says so: nothing in between needs a check.  A key is one of ours:
 * plain ASCII that needs no escape.
 */
struct json {
	char *dst;
	size_t cap, len;
	uint32_t depth;
	bool comma; /* something stands before in the same object */
	bool overflow;
};

void json_init(struct json *j, char *dst, size_t cap_bytes);

/* Start a nested object under @key; to be closed by json_close(). */
void json_open(struct json *j, const char *key);
void json_close(struct json *j);

/* Start a list of objects under @key, and an object in it, to be closed by json_close(). */
void json_list_open(struct json *j, const char *key);
void json_item_open(struct json *j);
void json_list_close(struct json *j);

/**
 * json_str() - a string from outside
 *
 * Escapes by RFC 8259 section 7.  Control characters and DEL, and each byte that is not part of
 * valid UTF-8 (RFC 3629), become \u00XX: the line is valid UTF-8 whatever comes in.
 */
void json_str(struct json *j, const char *key, struct span value);

void json_u64(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);

/**
 * json_time() - a moment as in Suricata's EVE: "2026-11-20T23:43:01.123456+0000"
 * @us:	microseconds since 1970, UTC
 */
void json_time(struct json *j, const char *key, uint64_t us);

/**
 * json_end() - close the outermost object; no newline, no NUL
 *
 * Return: bytes written, or -EMSGSIZE when the buffer was too small.
 */
ssize_t json_end(struct json *j);

#endif
