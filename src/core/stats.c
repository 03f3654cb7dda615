/* SPDX-License-Identifier: Apache-2.0 */
#include "core/stats.h"

void stats_add(struct stats *to, const struct stats *from)
{
	to->accepted += from->accepted;
	for (unsigned int i = 0; i < WHY_COUNT; i++)
		to->ended[i] += from->ended[i];
	to->bytes_up += from->bytes_up;
	to->bytes_down += from->bytes_down;
	to->accept_pauses += from->accept_pauses;
	to->source_fell_port += from->source_fell_port;
	to->addresses_refused += from->addresses_refused;
	to->bind_strangers += from->bind_strangers;
	to->source_fell_own += from->source_fell_own;
	to->time_wait_ended += from->time_wait_ended;
}
