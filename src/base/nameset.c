/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Names live one behind the other in an arena, as {what, length, bytes}; a table with open
 * addressing and linear probing holds {hash, offset into the arena}.  Offset 0 is never a name,
 * so a zeroed slot is a free one.  The hash runs over the name from right to left, so one pass
 * over a name yields the hash of each of its parents at each dot, and a look-up is one probe
 * per label.  The hash in the slot keeps probes that fail out of the arena: one cache line
 * each.  About 8 to 16 bytes of table, 2 and the name per entry; no pointers, two allocations.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostname.h"
#include "base/mem.h"
#include "base/nameset.h"

enum {
	NAME_ITSELF = 1, /* the name */
	NAME_BELOW = 2,	 /* what is below it */
};

struct slot {
	uint32_t hash;
	uint32_t offset; /* 0: free */
};

struct nameset {
	struct slot *slots;
	size_t n_slots; /* 0 or a power of two, at most 3/4 in use */
	size_t n;
	uint8_t *arena;
	size_t arena_len, arena_cap;
};

struct nameset *nameset_new(void)
{
	return NEW0(struct nameset);
}

void nameset_free(struct nameset *s)
{
	if (!s)
		return;
	free(s->slots);
	free(s->arena);
	free(s);
}

/* FNV-1a, one byte further. */
static uint64_t hash_byte(uint64_t h, char c)
{
	return (h ^ (uint8_t)c) * UINT64_C(0x100000001b3);
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

/* The low bits of FNV depend on the low bits of the input only: fold the high ones in. */
static uint32_t hash_fold(uint64_t h)
{
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(h >> 32);
}

static uint32_t hash_name(const char *name, size_t len)
{
	uint64_t h = HASH_START;

	while (len)
		h = hash_byte(h, name[--len]);
	return hash_fold(h);
}

/* The slot that holds the name, or the free one where it would go.  There are slots. */
static struct slot *slot_find(const struct nameset *s, uint32_t hash, const char *name, size_t len)
{
	size_t mask = s->n_slots - 1;

	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct slot *slot = &s->slots[i];
		const uint8_t *entry = s->arena + slot->offset;

		if (!slot->offset)
			return slot;
		if (slot->hash == hash && entry[1] == len && !memcmp(entry + 2, name, len))
			return slot;
	}
}

static int table_grow(struct nameset *s)
{
	size_t n_slots = s->n_slots ? s->n_slots * 2 : 16;
	struct slot *slots = calloc(n_slots, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_slots; i++) {
		size_t at = s->slots[i].hash & (n_slots - 1);

		if (!s->slots[i].offset)
			continue;
		while (slots[at].offset)
			at = (at + 1) & (n_slots - 1);
		slots[at] = s->slots[i];
	}
	free(s->slots);
	s->slots = slots;
	s->n_slots = n_slots;
	return 0;
}

static int arena_reserve(struct nameset *s, size_t len)
{
	size_t cap = s->arena_cap ? s->arena_cap : 256;
	uint8_t *arena;

	if (!s->arena_len)
		s->arena_len = 1; /* offset 0 stays unused */
	while (cap < s->arena_len + len)
		cap += cap / 2;
	if (s->arena_len + len > UINT32_MAX)
		return -ENOMEM;
	if (cap == s->arena_cap)
		return 0;
	arena = realloc(s->arena, cap);
	if (!arena)
		return -ENOMEM;
	s->arena = arena;
	s->arena_cap = cap;
	return 0;
}

static int name_add(struct nameset *s, const char *name, size_t len, uint8_t what)
{
	uint32_t hash = hash_name(name, len);
	struct slot *slot;
	uint8_t *entry;

	if (s->n >= s->n_slots / 4 * 3 && table_grow(s) < 0)
		return -ENOMEM;
	if (arena_reserve(s, len + 2) < 0)
		return -ENOMEM;
	slot = slot_find(s, hash, name, len);
	if (slot->offset) {
		s->arena[slot->offset] |= what;
		return 0;
	}
	*slot = (struct slot){ .hash = hash, .offset = (uint32_t)s->arena_len };
	entry = s->arena + s->arena_len;
	entry[0] = what;
	entry[1] = (uint8_t)len;
	memcpy(entry + 2, name, len);
	s->arena_len += len + 2;
	s->n++;
	return 0;
}

int nameset_add(struct nameset *s, const char *text)
{
	char name[HOSTNAME_CAP];
	uint8_t what = NAME_ITSELF;

	if (text[0] == '*' && text[1] == '.') {
		what = NAME_BELOW;
		text += 2;
	} else if (text[0] == '.') {
		what = NAME_ITSELF | NAME_BELOW;
		text++;
	}
	if (hostname_parse(span_str(text), name) < 0)
		return -EINVAL;
	return name_add(s, name, strlen(name), what);
}

int nameset_merge(struct nameset *s, const struct nameset *other)
{
	for (size_t at = 1; at < other->arena_len;) {
		const uint8_t *entry = other->arena + at;

		if (name_add(s, (const char *)entry + 2, entry[1], entry[0]) < 0)
			return -ENOMEM;
		at += (size_t)entry[1] + 2;
	}
	return 0;
}

bool nameset_contains(const struct nameset *s, const char *name)
{
	size_t len = strlen(name);
	uint64_t h = HASH_START;

	if (!s->n || len >= HOSTNAME_CAP)
		return false;
	for (size_t i = len; i-- > 0;) {
		const struct slot *slot;

		h = hash_byte(h, name[i]);
		if (i && name[i - 1] != '.')
			continue;
		slot = slot_find(s, hash_fold(h), name + i, len - i);
		if (slot->offset && s->arena[slot->offset] & (i ? NAME_BELOW : NAME_ITSELF))
			return true;
	}
	return false;
}

size_t nameset_count(const struct nameset *s)
{
	return s->n;
}
