/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOOP_TIMER_H
#define LOOP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define TIMER_LEVELS 8
#define TIMER_SLOTS 64

/**
 * struct timer - one time-out, embedded in its owner
 * @link:	in a slot of the wheel, or alone
 * @expires_ms:	when it is due, on the loop's clock
 * @fn:		called once from timers_run(), after the timer has been removed; may set it again
 *
 * timer_init() before first use.  Never fires early; late by about 1/8 of its delay (4/31) at
 * most, which is what lets the wheel sleep without ticking and without cascades.
 */
struct timer {
	struct list link;
	uint64_t expires_ms;
	void (*fn)(struct timer *t);
};

/**
 * struct timers - the wheel of one loop
 * @now_ms:	the loop's clock, advanced by timers_advance() only
 * @ran_ms:	everything due up to here has been called
 */
struct timers {
	uint64_t now_ms;
	uint64_t ran_ms;
	uint64_t bitmap[TIMER_LEVELS]; /* slots that are not empty */
	struct list slot[TIMER_LEVELS][TIMER_SLOTS];
};

void timers_init(struct timers *w, uint64_t now_ms);

void timer_init(struct timer *t, void (*fn)(struct timer *t));
void timer_set(struct timers *w, struct timer *t, uint64_t delay_ms); /* again: moves it */
void timer_cancel(struct timers *w, struct timer *t);

static inline bool timer_is_set(const struct timer *t)
{
	return !list_empty(&t->link);
}

/* Milliseconds from w->now_ms until something may be due, -1 if nothing is set. */
int timers_next_ms(const struct timers *w);

/* Set the clock; calls nothing. */
static inline void timers_advance(struct timers *w, uint64_t now_ms)
{
	if (now_ms > w->now_ms)
		w->now_ms = now_ms;
}

/* Call what is due at w->now_ms. */
void timers_run(struct timers *w);

#endif
