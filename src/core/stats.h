/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include <stdint.h>

#include "core/why.h"

/* Counters of one worker; written by its thread only, summed by whoever asks after it stopped. */
struct stats {
	uint64_t accepted;
	uint64_t ended[WHY_COUNT];
	uint64_t bytes_up, bytes_down;
	uint64_t accept_pauses;	   /* descriptors or limits.flows exhausted */
	uint64_t source_fell_port; /* the client's address was kept, its port was not */
	uint64_t addresses_refused; /* of names: skipped, policy refuses them */
	uint64_t bind_strangers;    /* connected where others were awaited, and were reset */
	uint64_t source_fell_own;  /* nor its address */
	uint64_t time_wait_ended;  /* its port was kept by ending a TIME_WAIT */
};

/* Add @from to @to. */
void stats_add(struct stats *to, const struct stats *from);

#endif
