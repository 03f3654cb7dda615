/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_RACE_H
#define DIAL_RACE_H

#include <stdbool.h>
#include <stdint.h>

#include "dial/destinations.h"

/* Of one name: addresses of both families, and attempts at once. */
#define RACE_DESTINATIONS 64
#define RACE_ATTEMPTS 8

/* RFC 8305 sections 3 and 5. */
#define RACE_RESOLUTION_DELAY_MS 50
#define RACE_ATTEMPT_DELAY_MS 250

enum race_step {
	RACE_TRY,  /* begin an attempt at *ret_try, or give it back */
	RACE_WAIT, /* nothing to do until *ret_until_ms, or until something happens */
	RACE_LOST, /* nothing is left */
};

/**
 * struct race - which address of a name is tried when
 * @list:	addresses nobody has tried yet, the best first
 * @n_pending:	answers (of a family each) that have not come
 * @first_family: its addresses are tried first whatever their order; 0: the order decides
 * @last_family: of the attempt begun last; 0: none was
 * @next_ms:	no further attempt before
 *
 * Knows no socket and no clock: who has them says what has happened, and asks race_step() what
 * to do, until it says to wait.
 */
struct race {
	struct destination list[RACE_DESTINATIONS];
	unsigned int n, n_pending, n_trying;
	uint8_t first_family, last_family;
	uint64_t next_ms;
};

/* Answers for both families are awaited. */
void race_init(struct race *r, uint8_t first_family);

/* The answer for a family has come; @n is 0 if there is no address.  Too many: the first. */
void race_answered(struct race *r, const struct destination *list, unsigned int n, uint64_t now_ms);

enum race_step race_step(struct race *r, uint64_t now_ms, struct destination *ret_try,
			 uint64_t *ret_until_ms);

/* What RACE_TRY gave has been begun. */
void race_begun(struct race *r, const struct destination *d, uint64_t now_ms);

/* It was not begun.  With d->open, policy must hear the client: again after race_reconsider(). */
void race_put_back(struct race *r, const struct destination *d);
void race_reconsider(struct race *r);

/* An attempt that had been begun has failed: the next one need not wait. */
void race_failed(struct race *r, uint64_t now_ms);

#endif
