/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  RFC 8305 as a machine without sockets.  A and AAAA are asked for
 * separately; an AAAA answer starts the race, an A answer waits for the other for a Resolution
 * Delay.  (So does an AAAA answer whose addresses would come behind any of IPv4; and where one
 * family is wanted first, it is that one which need not wait.)  Addresses are in the order of
 * RFC 6724, also those that come while others are being tried; each attempt takes the first of
 * the family that was not tried last.  The next attempt begins a Connection Attempt Delay after
 * the one before, or at once when one has failed.
 *
 * What the kernel knows no way to is tried when all else has been, because the way may depend on
 * more than the address (marks, the source that is asked for).
 */
#include "base/mem.h"
#include "dial/race.h"

void race_init(struct race *r, uint8_t first_family)
{
	r->n = r->n_trying = 0;
	r->n_pending = 2;
	r->first_family = first_family;
	r->last_family = 0;
	r->next_ms = 0;
}

/* @best, the first that is known, would be tried first whatever may come. */
static bool need_not_wait(const struct race *r, const struct destination *best)
{
	if (r->first_family)
		return best->addr.family == r->first_family && best->source.family;
	return best->addr.family == 6 && destination_beats_ipv4(best);
}

void race_answered(struct race *r, const struct destination *list, unsigned int n, uint64_t now_ms)
{
	/* each answer has its half of the room, which nobody may take from the other */
	if (n > RACE_DESTINATIONS / 2)
		n = RACE_DESTINATIONS / 2;
	r->n_pending--;
	for (unsigned int i = 0; i < n; i++)
		r->list[r->n++] = list[i];
	destinations_sort(r->list, r->n);
	if (r->last_family || !r->n)
		return;
	r->next_ms = now_ms;
	if (r->n_pending && !need_not_wait(r, &r->list[0]))
		r->next_ms += RACE_RESOLUTION_DELAY_MS;
}

/* How good a destination is before families take turns: 2 is best. */
static int rank_of(const struct destination *d)
{
	return !d->source.family ? 0 : d->wanted ? 2 : 1;
}

/* The first of @rank that may be tried of @family, 0: of any. */
static struct destination *pick_of(struct race *r, uint8_t family, int rank)
{
	for (unsigned int i = 0; i < r->n; i++) {
		struct destination *d = &r->list[i];

		if (!d->open && (!family || d->addr.family == family) && rank_of(d) == rank)
			return d;
	}
	return NULL;
}

static struct destination *pick(struct race *r)
{
	uint8_t other = r->last_family == 6 ? 4 : r->last_family == 4 ? 6 : 0;
	struct destination *d = NULL;

	for (int rank = 2; rank >= 0 && !d; rank--) {
		d = pick_of(r, other, rank);
		if (!d)
			d = pick_of(r, 0, rank);
	}
	return d;
}

static bool any_open(const struct race *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (r->list[i].open)
			return true;
	return false;
}

static void take_out(struct race *r, const struct destination *d)
{
	r->n--;
	for (unsigned int i = (unsigned int)(d - r->list); i < r->n; i++)
		r->list[i] = r->list[i + 1];
}

enum race_step race_step(struct race *r, uint64_t now_ms, struct destination *ret_try,
			 uint64_t *ret_until_ms)
{
	struct destination *d = pick(r);

	*ret_until_ms = UINT64_MAX;
	if (!d)
		return r->n_pending || r->n_trying || any_open(r) ? RACE_WAIT : RACE_LOST;
	if (r->n_trying == RACE_ATTEMPTS)
		return RACE_WAIT;
	if (now_ms < r->next_ms) {
		*ret_until_ms = r->next_ms;
		return RACE_WAIT;
	}
	*ret_try = *d;
	take_out(r, d);
	return RACE_TRY;
}

void race_begun(struct race *r, const struct destination *d, uint64_t now_ms)
{
	r->n_trying++;
	r->last_family = d->addr.family;
	r->next_ms = now_ms + RACE_ATTEMPT_DELAY_MS;
}

void race_put_back(struct race *r, const struct destination *d)
{
	r->list[r->n++] = *d;
	destinations_sort(r->list, r->n);
}

void race_reconsider(struct race *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		r->list[i].open = false;
}

void race_failed(struct race *r, uint64_t now_ms)
{
	r->n_trying--;
	r->next_ms = now_ms;
}
