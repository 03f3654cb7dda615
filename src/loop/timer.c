/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A wheel of TIMER_LEVELS levels with TIMER_SLOTS slots each; level n
 * has a granularity of 8^n ms.  A timer goes into the lowest level whose span covers its
 * delay, into the slot behind its (rounded up) due time, and stays there until it fires:
 * nothing cascades, so an idle loop sleeps until the first non-empty slot and is woken for
 * nothing else.  The price is that a timer fires up to one granule late, 4/31 of its delay
 * at most.  (The same trade as the kernel's own wheel, kernel/time/timer.c since 4.8.)
 *
 * Invariant: a slot's entries are all due in the same granule of its level.
 */
#include <string.h>

#include "loop/timer.h"

#define LEVEL_SHIFT 3
#define SLOT_MASK (TIMER_SLOTS - 1)

static unsigned int level_shift(unsigned int level)
{
	return level * LEVEL_SHIFT;
}

/* The longest delay that level @level can hold, exclusive.  Two slots are kept free: rounding up
 * at both ends must not bring a timer into the granule of "now", a whole turn too early. */
static uint64_t level_span_ms(unsigned int level)
{
	return (uint64_t)(TIMER_SLOTS - 2) << level_shift(level);
}

void timers_init(struct timers *w, uint64_t now_ms)
{
	w->now_ms = w->ran_ms = now_ms;
	memset(w->bitmap, 0, sizeof(w->bitmap));
	for (unsigned int l = 0; l < TIMER_LEVELS; l++)
		for (unsigned int s = 0; s < TIMER_SLOTS; s++)
			list_init(&w->slot[l][s]);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	list_init(&t->link);
	t->expires_ms = 0;
	t->fn = fn;
}

/* Take @t out; a slot that is empty then must not wake anybody. */
static void unlink_timer(struct timers *w, struct timer *t)
{
	struct list *head = t->link.next, *first = &w->slot[0][0];

	if (head == t->link.prev && head >= first && head < first + TIMER_LEVELS * TIMER_SLOTS) {
		size_t at = (size_t)(head - first);

		w->bitmap[at / TIMER_SLOTS] &= ~(1ULL << (at % TIMER_SLOTS));
	}
	list_del(&t->link);
}

void timer_set(struct timers *w, struct timer *t, uint64_t delay_ms)
{
	unsigned int level = 0;
	uint64_t granule;

	unlink_timer(w, t);
	if (!delay_ms)
		delay_ms = 1;
	while (level < TIMER_LEVELS - 1 && delay_ms >= level_span_ms(level))
		level++;
	t->expires_ms = w->now_ms + delay_ms;
	if (delay_ms >= level_span_ms(level)) /* longer than the wheel: set again on the way */
		delay_ms = level_span_ms(level) - 1;
	granule = (w->now_ms + delay_ms + (1ULL << level_shift(level)) - 1) >> level_shift(level);
	list_add_tail(&w->slot[level][granule & SLOT_MASK], &t->link);
	w->bitmap[level] |= 1ULL << (granule & SLOT_MASK);
}

void timer_cancel(struct timers *w, struct timer *t)
{
	unlink_timer(w, t);
}

/* Granules from the one of @now_ms to the first that may hold something, or -1. */
static int first_slot(const struct timers *w, unsigned int level, uint64_t now_ms)
{
	unsigned int at = (now_ms >> level_shift(level)) & SLOT_MASK;
	uint64_t bits = w->bitmap[level];

	if (!bits)
		return -1;
	bits = at ? bits >> at | bits << (TIMER_SLOTS - at) : bits;
	return __builtin_ctzll(bits);
}

int timers_next_ms(const struct timers *w)
{
	uint64_t best = UINT64_MAX;

	for (unsigned int l = 0; l < TIMER_LEVELS; l++) {
		int n = first_slot(w, l, w->now_ms);
		uint64_t due;

		if (n < 0)
			continue;
		due = ((w->now_ms >> level_shift(l)) + (uint64_t)n) << level_shift(l);
		if (due < w->now_ms)
			due = w->now_ms;
		if (due < best)
			best = due;
	}
	if (best == UINT64_MAX)
		return -1;
	best -= w->now_ms;
	return best > 1000000 ? 1000000 : (int)best;
}

static void slot_collect(struct timers *w, unsigned int level, uint64_t granule, struct list *due)
{
	struct list *slot = &w->slot[level][granule & SLOT_MASK];

	w->bitmap[level] &= ~(1ULL << (granule & SLOT_MASK));
	list_splice(due, slot);
}

void timers_run(struct timers *w)
{
	struct list due;

	if (w->ran_ms == w->now_ms)
		return;
	list_init(&due);
	for (unsigned int l = 0; l < TIMER_LEVELS; l++) {
		uint64_t from = w->ran_ms >> level_shift(l), to = w->now_ms >> level_shift(l);

		if (to - from >= TIMER_SLOTS)
			from = to - TIMER_SLOTS + 1;
		for (uint64_t g = from; w->bitmap[l] && g <= to; g++)
			slot_collect(w, l, g, &due);
	}
	w->ran_ms = w->now_ms;
	while (!list_empty(&due)) {
		struct timer *t = list_entry(due.next, struct timer, link);

		list_del(&t->link);
		if (t->expires_ms > w->now_ms) /* a turn ahead, or longer than the wheel */
			timer_set(w, t, t->expires_ms - w->now_ms);
		else
			t->fn(t);
	}
}
