/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "codec/dns.h"

#define LABEL_MAX_BYTES 63
#define NAME_MAX_BYTES 255 /* on the wire, lengths and the root's zero included */
#define POINTER_BITS 0xc0

static uint16_t u16_at(struct span in, size_t at)
{
	return (uint16_t)(in.data[at] << 8 | in.data[at + 1]);
}

/* One byte of a label as text; the end of what was written. */
static char *label_byte(char *p, uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		c |= 0x20;
	if (c <= ' ' || c >= 0x7f) {
		*p++ = '\\';
		*p++ = (char)('0' + c / 100);
		*p++ = (char)('0' + c / 10 % 10);
		*p++ = (char)('0' + c % 10);
		return p;
	}
	if (c == '.' || c == '\\')
		*p++ = '\\';
	*p++ = (char)c;
	return p;
}

enum codec_result dns_name_parse(struct span in, size_t *at, char ret[static DNS_NAME_CAP])
{
	size_t pos = *at, run = *at; /* where the current run of labels starts */
	size_t end = 0;		     /* behind the name, once a pointer was followed */
	size_t wire = 0;
	char *p = ret;

	for (;;) {
		size_t len, target;

		if (pos >= in.len)
			return CODEC_MORE;
		len = in.data[pos];
		if ((len & POINTER_BITS) == POINTER_BITS) {
			if (pos + 2 > in.len)
				return CODEC_MORE;
			target = u16_at(in, pos) & 0x3fff;
			if (target < DNS_HEADER_BYTES || target >= run)
				return CODEC_BAD;
			if (!end)
				end = pos + 2;
			pos = run = target;
			continue;
		}
		wire += len + 1;
		if (len > LABEL_MAX_BYTES || wire > NAME_MAX_BYTES)
			return CODEC_BAD;
		pos++;
		if (!len)
			break;
		if (len > in.len - pos)
			return CODEC_MORE;
		if (p > ret)
			*p++ = '.';
		for (; len; len--)
			p = label_byte(p, in.data[pos++]);
	}
	if (p == ret)
		*p++ = '.';
	*p = '\0';
	*at = end ? end : pos;
	return CODEC_DONE;
}

enum codec_result dns_parse(struct span in, struct dns_message *ret)
{
	size_t at = DNS_HEADER_BYTES;
	enum codec_result r;

	if (in.len < DNS_HEADER_BYTES)
		return CODEC_MORE;
	ret->id = u16_at(in, 0);
	ret->response = in.data[2] >> 7;
	ret->opcode = in.data[2] >> 3 & 15;
	ret->truncated = in.data[2] >> 1 & 1;
	ret->rcode = in.data[3] & 15;
	ret->n_questions = u16_at(in, 4);
	ret->n_answers = u16_at(in, 6);
	ret->n_authority = u16_at(in, 8);
	ret->n_additional = u16_at(in, 10);
	ret->name[0] = '\0';
	ret->type = ret->class = 0;
	ret->question_end = at;
	if (!ret->n_questions)
		return CODEC_DONE;
	r = dns_name_parse(in, &at, ret->name);
	if (r != CODEC_DONE)
		return r;
	if (in.len - at < 4)
		return CODEC_MORE;
	ret->type = u16_at(in, at);
	ret->class = u16_at(in, at + 2);
	ret->question_end = at + 4;
	return CODEC_DONE;
}

bool dns_answers(const struct dns_message *answer, const struct dns_message *query)
{
	return answer->response && !query->response && answer->id == query->id &&
	       answer->opcode == query->opcode && answer->n_questions == query->n_questions &&
	       answer->type == query->type && answer->class == query->class &&
	       !strcmp(answer->name, query->name);
}
