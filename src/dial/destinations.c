/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "dial/destinations.h"

/* RFC 6724 section 2.1, the longest prefix first. */
static const struct policy_row {
	uint8_t prefix[16];
	uint8_t bits, precedence, label;
} rows[] = {
	{ { [15] = 1 }, 128, 50, 0 },			   /* ::1 */
	{ { [10] = 0xff, [11] = 0xff }, 96, 35, 4 },	   /* ::ffff:0:0, that is IPv4 */
	{ { 0 }, 96, 1, 3 },				   /* ::, IPv4-compatible */
	{ { 0x20, 0x01 }, 32, 5, 5 },			   /* 2001::, Teredo */
	{ { 0x20, 0x02 }, 16, 30, 2 },			   /* 2002::, 6to4 */
	{ { 0x3f, 0xfe }, 16, 1, 12 },			   /* 3ffe::, 6bone */
	{ { 0xfe, 0xc0 }, 10, 1, 11 },			   /* fec0::, site-local */
	{ { 0xfc }, 7, 3, 13 },				   /* fc00::, unique local */
	{ { 0 }, 0, 40, 1 },				   /* ::, all else */
};

enum scope {
	SCOPE_LINK = 2,
	SCOPE_SITE = 5,
	SCOPE_GLOBAL = 14,
};

/* An IPv6 source counts to the end of its subnet: section 2.2. */
#define PREFIX_BITS_MAX 64

/* Equal bits from the left, at most @cap_bits. */
static unsigned int common_bits(const uint8_t *a, const uint8_t *b, unsigned int cap_bits)
{
	unsigned int n = 0;

	while (n < cap_bits && !((a[n / 8] ^ b[n / 8]) & 0x80 >> n % 8))
		n++;
	return n;
}

/* As IPv6 sees it: IPv4 mapped. */
static void map_ip(const struct addr *a, uint8_t ret[static 16])
{
	memcpy(ret, a->ip, 16);
	if (a->family == 4) {
		memset(ret, 0, 10);
		memset(ret + 10, 0xff, 2);
		memcpy(ret + 12, a->ip, 4);
	}
}

static const struct policy_row *row_of(const struct addr *a)
{
	const struct policy_row *row = rows;
	uint8_t ip[16];

	map_ip(a, ip);
	while (common_bits(ip, row->prefix, row->bits) < row->bits)
		row++;
	return row;
}

/* Section 3.1 and 3.2. */
static enum scope scope_of(const struct addr *a)
{
	const uint8_t *ip = a->ip;

	if (addr_is_loopback(a))
		return SCOPE_LINK;
	if (a->family == 4)
		return ip[0] == 169 && ip[1] == 254 ? SCOPE_LINK : SCOPE_GLOBAL;
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
		return SCOPE_LINK;
	return ip[0] == 0xfe && (ip[1] & 0xc0) == 0xc0 ? SCOPE_SITE : SCOPE_GLOBAL;
}

static bool has_source(const struct destination *d)
{
	return d->source.family;
}

/* Less than 0: @a comes before @b; greater: @b before @a; 0: as they were. */
static int compare(const struct destination *a, const struct destination *b)
{
	const struct policy_row *row_a = row_of(&a->addr), *row_b = row_of(&b->addr);
	enum scope scope_a = scope_of(&a->addr), scope_b = scope_of(&b->addr);
	bool same_a, same_b;

	if (has_source(a) != has_source(b))
		return has_source(b) - has_source(a); /* rule 1 */
	if (has_source(a)) {
		same_a = scope_of(&a->source) == scope_a;
		same_b = scope_of(&b->source) == scope_b;
		if (same_a != same_b)
			return same_b - same_a; /* rule 2 */
		same_a = row_of(&a->source)->label == row_a->label;
		same_b = row_of(&b->source)->label == row_b->label;
		if (same_a != same_b)
			return same_b - same_a; /* rule 5 */
	}
	if (row_a->precedence != row_b->precedence)
		return row_b->precedence - row_a->precedence; /* rule 6 */
	if (scope_a != scope_b)
		return (int)scope_a - (int)scope_b; /* rule 8 */
	if (a->addr.family == 6 && b->addr.family == 6 && has_source(a))
		return (int)common_bits(b->addr.ip, b->source.ip, PREFIX_BITS_MAX) -
		       (int)common_bits(a->addr.ip, a->source.ip, PREFIX_BITS_MAX); /* rule 9 */
	return 0;
}

void destinations_sort(struct destination *list, size_t n)
{
	for (size_t i = 1; i < n; i++) { /* few, and those that are equal stay in their order */
		struct destination d = list[i];
		size_t k = i;

		for (; k > 0 && compare(&d, &list[k - 1]) < 0; k--)
			list[k] = list[k - 1];
		list[k] = d;
	}
}

bool destination_beats_ipv4(const struct destination *d)
{
	static const struct addr any_v4 = { .family = 4 };

	return has_source(d) && row_of(&d->addr)->precedence > row_of(&any_v4)->precedence;
}
