/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DNS_H
#define CODEC_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
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

/* The id of a message of which the header is there. */
static inline uint16_t dns_id(struct span in)
{
	return (uint16_t)(in.data[0] << 8 | in.data[1]);
}

/**
 * dns_name_parse() - one name, compressed or not
 * @in:	the whole message
 * @at:	where the name starts; moved behind it on CODEC_DONE
 *
 * A pointer must lead to a place before the label run it ends, and behind the header: so each
 * leads further back, and there are no loops.
 */
enum codec_result dns_name_parse(struct span in, size_t *at, char ret[static DNS_NAME_CAP]);

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_OPT = 41,
	DNS_TYPE_IXFR = 251,
	DNS_TYPE_AXFR = 252,
};

/* Of the opcodes (RFC 6895 section 2.2) the one that asks. */
#define DNS_OPCODE_QUERY 0

enum dns_rcode {
	DNS_NOERROR,
	DNS_FORMERR,
	DNS_SERVFAIL,
	DNS_NXDOMAIN,
	DNS_NOTIMP,
	DNS_REFUSED,
};

/**
 * struct dns_record - one resource record (RFC 1035 section 4.1.3)
 * @name:	its owner, as in struct dns_message
 * @data_at:	where @data starts in the message, for names in it
 */
struct dns_record {
	char name[DNS_NAME_CAP];
	uint16_t type;
	uint16_t class;
	uint32_t ttl_s;
	size_t data_at;
	struct span data;
};

/* One record of the message @in, at @at, which is moved behind it on CODEC_DONE. */
enum codec_result dns_record_parse(struct span in, size_t *at, struct dns_record *ret);

/* Of one answer; what is more is left out. */
#define DNS_ADDRESSES_MAX 64

/**
 * dns_addresses() - addresses that an answer gives for the name of its question
 * @m:		of @in
 * @ret_ttl_s:	how long the least durable record on the way to them is valid
 *
 * Behind aliases (CNAME), in whatever order they stand; at most 16, and among the first 256
 * records.  Return: how many; their ports are 0.
 */
size_t dns_addresses(struct span in, const struct dns_message *m,
		     struct addr ret[static DNS_ADDRESSES_MAX], uint32_t *ret_ttl_s);

/**
 * dns_records_fault() - records behind the question that are not all there, or contradict
 *
 * Return: true also for more than one OPT (RFC 6891 section 6.1.1), and for more records than any
 * query has.
 */
bool dns_records_fault(struct span in, const struct dns_message *m);

/**
 * struct dns_edns - what a query's OPT record says
 * @takes_bytes: the datagram that its sender takes (RFC 6891 section 6.2.3); 0: it has no OPT
 * @dnssec_ok:	DO, which answers have to repeat (RFC 3225 section 3)
 */
struct dns_edns {
	uint16_t takes_bytes;
	bool dnssec_ok;
};
struct dns_edns dns_edns(struct span in, const struct dns_message *m);

#define DNS_EMPTY_CAP 512

/**
 * dns_empty_answer() - an answer to a query without any records but OPT, where the query has it
 * @query:	of which dns_parse() said CODEC_DONE, or at least the header is there
 * @question_bytes: how much of it is header and question
 * @edns:	of the query
 *
 * Return: bytes written.
 */
size_t dns_empty_answer(struct span query, size_t question_bytes, enum dns_rcode rcode,
			bool truncated, struct dns_edns edns, uint8_t dst[static DNS_EMPTY_CAP]);

/* Words of the IANA registry; NULL: no word here. */
const char *dns_type_name(uint16_t type);
const char *dns_rcode_name(uint8_t rcode);

/* @answer is a response to @query: same id, opcode and question (RFC 5452 section 9.1). */
bool dns_answers(const struct dns_message *answer, const struct dns_message *query);

#endif
