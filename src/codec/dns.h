/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DNS_H
#define CODEC_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "codec/codec.h"

/* Room for any name as text: 255 bytes on the wire, each at worst written as \DDD. */
#define DNS_NAME_CAP 1024
#define DNS_HEADER_BYTES 12

/**
 * struct dns_message - header and first question
 * @id:		as in the header, host byte order
 * @response:	QR: an answer, else a query
 * @truncated:	TC
 * @opcode, @rcode: as in the header
 * @n_questions, @n_answers, @n_authority, @n_additional: counts the header claims
 * @name:	of the first question: lower case, without the final dot, "." for the root,
 *		bytes other than printable ASCII as \DDD, dots and backslashes within a label with
 *		a backslash in front (RFC 1035 section 5.1); "" without a question
 * @type, @class: of the first question
 * @question_end: length of header and first question
 */
struct dns_message {
	uint16_t id;
	bool response;
	bool truncated;
	uint8_t opcode;
	uint8_t rcode;
	uint16_t n_questions, n_answers, n_authority, n_additional;
	char name[DNS_NAME_CAP];
	uint16_t type;
	uint16_t class;
	size_t question_end;
};

/**
 * dns_parse() - header and first question of a message
 * @in:	the message without a length in front; what follows the question is not looked at
 *
 * CODEC_MORE: cut off (for a datagram that is an error).  Never CODEC_OTHER.
 *
 * Source: RFC 1035 sections 4.1.1, 4.1.2 and 4.1.4.
 */
enum codec_result dns_parse(struct span in, struct dns_message *ret);

/**
 * dns_name_parse() - one name, compressed or not
 * @in:	the whole message
 * @at:	where the name starts; moved behind it on CODEC_DONE
 *
 * A pointer must lead to a place before the label run it ends, and behind the header: so each
 * leads further back, and there are no loops.
 */
enum codec_result dns_name_parse(struct span in, size_t *at, char ret[static DNS_NAME_CAP]);

/* @answer is a response to @query: same id, opcode and question (RFC 5452 section 9.1). */
bool dns_answers(const struct dns_message *answer, const struct dns_message *query);

#endif
