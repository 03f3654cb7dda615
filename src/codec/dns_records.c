/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "codec/dns.h"

#define ALIASES_MAX 16
#define RECORDS_MAX 256
#define RECORD_FIXED_BYTES 10 /* type, class, TTL, length */
#define OPT_BYTES 11
#define OPT_TAKES_BYTES 1232 /* what fits any link (the DNS flag day of 2020) */
#define OPT_DNSSEC_OK 0x8000 /* in the TTL */
#define CLASS_IN 1

static uint16_t u16_at(struct span in, size_t at)
{
	return (uint16_t)(in.data[at] << 8 | in.data[at + 1]);
}

enum codec_result dns_record_parse(struct span in, size_t *at, struct dns_record *ret)
{
	size_t pos = *at, len;
	enum codec_result r = dns_name_parse(in, &pos, ret->name);

	if (r != CODEC_DONE)
		return r;
	if (in.len - pos < RECORD_FIXED_BYTES)
		return CODEC_MORE;
	ret->type = u16_at(in, pos);
	ret->class = u16_at(in, pos + 2);
	ret->ttl_s = (uint32_t)u16_at(in, pos + 4) << 16 | u16_at(in, pos + 6);
	if (ret->ttl_s > INT32_MAX) /* RFC 2181 section 8 */
		ret->ttl_s = 0;
	len = u16_at(in, pos + 8);
	pos += RECORD_FIXED_BYTES;
	if (len > in.len - pos)
		return CODEC_MORE;
	ret->data_at = pos;
	ret->data = span_of(in.data + pos, len);
	*at = pos + len;
	return CODEC_DONE;
}

static bool is_address(const struct dns_record *r)
{
	return (r->type == DNS_TYPE_A && r->data.len == 4) ||
	       (r->type == DNS_TYPE_AAAA && r->data.len == 16);
}

/* One walk through the answers: addresses of @name, or, without any, what it is an alias of
 * (into @name). */
static size_t walk(struct span in, const struct dns_message *m, char name[static DNS_NAME_CAP],
		   struct addr ret[static DNS_ADDRESSES_MAX], uint32_t *ttl_s, bool *ret_alias)
{
	char alias[DNS_NAME_CAP];
	size_t at = m->question_end, n = 0;
	uint32_t alias_ttl_s = 0;
	struct dns_record r;

	*ret_alias = false;
	for (size_t i = 0; i < m->n_answers && i < RECORDS_MAX && n < DNS_ADDRESSES_MAX; i++) {
		size_t target;

		if (dns_record_parse(in, &at, &r) != CODEC_DONE)
			break;
		target = r.data_at;
		if (r.class != CLASS_IN || strcmp(r.name, name))
			continue;
		if (r.type == DNS_TYPE_CNAME && dns_name_parse(in, &target, alias) == CODEC_DONE) {
			*ret_alias = true;
			alias_ttl_s = r.ttl_s;
		}
		if (!is_address(&r))
			continue;
		ret[n] = (struct addr){ .family = r.type == DNS_TYPE_A ? 4 : 6 };
		memcpy(ret[n].ip, r.data.data, r.data.len);
		addr_unmap(&ret[n++]); /* rules about IPv4 are to see it */
		if (r.ttl_s < *ttl_s)
			*ttl_s = r.ttl_s;
	}
	if (!n && *ret_alias) {
		memcpy(name, alias, sizeof(alias));
		if (alias_ttl_s < *ttl_s)
			*ttl_s = alias_ttl_s;
	}
	return n;
}

size_t dns_addresses(struct span in, const struct dns_message *m,
		     struct addr ret[static DNS_ADDRESSES_MAX], uint32_t *ret_ttl_s)
{
	char name[DNS_NAME_CAP];
	bool alias = true;
	size_t n = 0;

	*ret_ttl_s = UINT32_MAX;
	memcpy(name, m->name, sizeof(name));
	if (m->n_questions != 1)
		return 0;
	for (int i = 0; i <= ALIASES_MAX && !n && alias; i++)
		n = walk(in, m, name, ret, ret_ttl_s, &alias);
	return n;
}

bool dns_records_fault(struct span in, const struct dns_message *m)
{
	size_t n = (size_t)m->n_answers + m->n_authority + m->n_additional;
	size_t at = m->question_end, n_opts = 0;
	struct dns_record r;

	if (n > RECORDS_MAX)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (dns_record_parse(in, &at, &r) != CODEC_DONE)
			return true;
		n_opts += r.type == DNS_TYPE_OPT;
	}
	return n_opts > 1;
}

struct dns_edns dns_edns(struct span in, const struct dns_message *m)
{
	size_t n = (size_t)m->n_answers + m->n_authority + m->n_additional;
	const struct dns_edns none = { 0 };
	size_t at = m->question_end;
	struct dns_record r;

	if (m->n_questions > 1)
		return none;
	for (size_t i = 0; i < n && i < RECORDS_MAX; i++) {
		if (dns_record_parse(in, &at, &r) != CODEC_DONE)
			return none;
		if (r.type == DNS_TYPE_OPT)
			return (struct dns_edns){ .takes_bytes = r.class < 512 ? 512 : r.class,
						  .dnssec_ok = r.ttl_s & OPT_DNSSEC_OK };
	}
	return none;
}

size_t dns_empty_answer(struct span query, size_t question_bytes, enum dns_rcode rcode,
			bool truncated, struct dns_edns edns, uint8_t dst[static DNS_EMPTY_CAP])
{
	size_t n = question_bytes;

	if (n > query.len || n > DNS_EMPTY_CAP - OPT_BYTES)
		n = DNS_HEADER_BYTES;
	memcpy(dst, query.data, n);
	dst[2] = (uint8_t)(0x80 | (query.data[2] & 0x79) | (truncated ? 2 : 0)); /* opcode, RD */
	dst[3] = (uint8_t)(0x80 | (query.data[3] & 0x10) | rcode);		 /* RA, CD */
	memset(dst + 4, 0, 8);
	dst[5] = n > DNS_HEADER_BYTES;
	if (!edns.takes_bytes)
		return n;
	dst[11] = 1;
	memset(dst + n, 0, OPT_BYTES);
	dst[n + 2] = DNS_TYPE_OPT;
	dst[n + 3] = OPT_TAKES_BYTES >> 8;
	dst[n + 4] = OPT_TAKES_BYTES & 255;
	dst[n + 7] = edns.dnssec_ok ? OPT_DNSSEC_OK >> 8 : 0;
	return n + OPT_BYTES;
}

const char *dns_type_name(uint16_t type)
{
	static const struct {
		uint16_t type;
		const char *name;
	} names[] = {
		{ 1, "A" },	 { 2, "NS" },	  { 5, "CNAME" },   { 6, "SOA" },
		{ 12, "PTR" },	 { 13, "HINFO" }, { 15, "MX" },	    { 16, "TXT" },
		{ 28, "AAAA" },	 { 29, "LOC" },	  { 33, "SRV" },    { 35, "NAPTR" },
		{ 39, "DNAME" }, { 41, "OPT" },	  { 43, "DS" },	    { 44, "SSHFP" },
		{ 46, "RRSIG" }, { 47, "NSEC" },  { 48, "DNSKEY" }, { 50, "NSEC3" },
		{ 52, "TLSA" },	 { 64, "SVCB" },  { 65, "HTTPS" },  { 99, "SPF" },
		{ 251, "IXFR" }, { 252, "AXFR" }, { 255, "ANY" },   { 257, "CAA" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].type == type)
			return names[i].name;
	return NULL;
}

const char *dns_rcode_name(uint8_t rcode)
{
	static const char *const names[] = {
		"NOERROR",  "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP",  "REFUSED",
		"YXDOMAIN", "YXRRSET", "NXRRSET",  "NOTAUTH",  "NOTZONE",
	};

	return rcode < ARRAY_SIZE(names) ? names[rcode] : NULL;
}
