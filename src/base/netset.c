/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Addresses are 128-bit numbers, IPv4 and IPv6 in an array each (a v6 network must never
 * contain a v4 address).  Adding appends in any order; sealing sorts by the first address and
 * joins ranges that overlap or touch, after which the ranges are disjoint and ascending and the
 * one that could hold an address is the last that starts at or before it.  A trie would save a
 * few steps of the search and cost several times the memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/netset.h"

typedef unsigned __int128 u128;

struct range {
	u128 first, last;
};

struct ranges {
	struct range *list;
	size_t n, cap;
};

struct netset {
	struct ranges v4, v6;
};

struct netset *netset_new(void)
{
	return NEW0(struct netset);
}

void netset_free(struct netset *s)
{
	if (!s)
		return;
	free(s->v4.list);
	free(s->v6.list);
	free(s);
}

static u128 addr_number(const struct addr *a)
{
	u128 n = 0;

	for (size_t i = 0; i < addr_ip_len(a); i++)
		n = n << 8 | a->ip[i];
	return n;
}

static int ranges_add(struct ranges *rs, struct range r)
{
	if (rs->n == rs->cap) {
		size_t cap = rs->cap ? rs->cap * 2 : 8;
		struct range *list = reallocarray(rs->list, cap, sizeof(*list));

		if (!list)
			return -ENOMEM;
		rs->list = list;
		rs->cap = cap;
	}
	rs->list[rs->n++] = r;
	return 0;
}

/* Decimal without leading zeros, 0..@max, or -1. */
static int prefix_parse(const char *text, int max)
{
	int n = 0;

	if (!*text || (*text == '0' && text[1]))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		n = n * 10 + (*text - '0');
		if (n > max)
			return -1;
	}
	return n;
}

/* @tail is what stands behind '/' or '-' (@sep), NULL when there is neither. */
static int range_parse(const char *head, char sep, const char *tail, uint8_t *ret_family,
		       struct range *ret)
{
	struct addr a, b;
	struct range r;
	int bits, host_bits;

	if (addr_parse_ip(head, &a) < 0 || a.scope_id)
		return -EINVAL;
	r.first = r.last = addr_number(&a);
	if (sep == '/') {
		bits = a.family == 4 ? 32 : 128;
		host_bits = prefix_parse(tail, bits);
		if (host_bits < 0)
			return -EINVAL;
		host_bits = bits - host_bits;
		if (host_bits) {
			u128 mask = ~(u128)0 >> (128 - host_bits);

			if (r.first & mask)
				return -ERANGE;
			r.last |= mask;
		}
	} else if (sep == '-') {
		if (addr_parse_ip(tail, &b) < 0 || b.scope_id || b.family != a.family)
			return -EINVAL;
		r.last = addr_number(&b);
		if (r.last < r.first)
			return -EINVAL;
	}
	*ret_family = a.family;
	*ret = r;
	return 0;
}

int netset_add(struct netset *s, const char *text)
{
	char head[ADDR_TEXT_MAX];
	size_t head_len = strcspn(text, "/-");
	struct range range;
	uint8_t family;
	int r;

	if (head_len >= sizeof(head))
		return -EINVAL;
	memcpy(head, text, head_len);
	head[head_len] = '\0';
	r = range_parse(head, text[head_len], text + head_len + !!text[head_len], &family, &range);
	if (r < 0)
		return r;
	return ranges_add(family == 4 ? &s->v4 : &s->v6, range);
}

static int ranges_merge(struct ranges *to, const struct ranges *from)
{
	for (size_t i = 0; i < from->n; i++)
		if (ranges_add(to, from->list[i]) < 0)
			return -ENOMEM;
	return 0;
}

int netset_merge(struct netset *s, const struct netset *other)
{
	int r = ranges_merge(&s->v4, &other->v4);

	return r < 0 ? r : ranges_merge(&s->v6, &other->v6);
}

static int range_compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static void ranges_seal(struct ranges *rs)
{
	size_t kept = 0;

	if (!rs->n)
		return;
	qsort(rs->list, rs->n, sizeof(*rs->list), range_compare);
	for (size_t i = 1; i < rs->n; i++) {
		struct range *last = &rs->list[kept];
		const struct range *r = &rs->list[i];

		/* Nothing is above the all-ones address: it is in @last already. */
		if (last->last == ~(u128)0 || r->first <= last->last + 1) {
			if (r->last > last->last)
				last->last = r->last;
			continue;
		}
		rs->list[++kept] = *r;
	}
	rs->n = kept + 1;
}

void netset_seal(struct netset *s)
{
	ranges_seal(&s->v4);
	ranges_seal(&s->v6);
}

static bool ranges_contain(const struct ranges *rs, u128 n)
{
	size_t low = 0, high = rs->n; /* ranges below @low start at or before @n */

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (rs->list[middle].first <= n)
			low = middle + 1;
		else
			high = middle;
	}
	return low && n <= rs->list[low - 1].last;
}

bool netset_contains(const struct netset *s, const struct addr *a)
{
	if (!addr_ip_len(a))
		return false;
	return ranges_contain(a->family == 4 ? &s->v4 : &s->v6, addr_number(a));
}

static void number_to_addr(u128 n, uint8_t family, struct addr *ret)
{
	size_t len;

	*ret = (struct addr){ .family = family };
	len = addr_ip_len(ret);
	for (size_t i = 0; i < len; i++)
		ret->ip[i] = (uint8_t)(n >> (8 * (len - 1 - i)));
}

bool netset_range(const struct netset *s, uint8_t family, size_t i, struct addr *ret_first,
		  struct addr *ret_last)
{
	const struct ranges *rs = family == 4 ? &s->v4 : &s->v6;

	if (i >= rs->n)
		return false;
	number_to_addr(rs->list[i].first, family, ret_first);
	number_to_addr(rs->list[i].last, family, ret_last);
	return true;
}

size_t netset_count(const struct netset *s)
{
	return s->v4.n + s->v6.n;
}
