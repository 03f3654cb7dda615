/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/handover.h"

int handover_push(struct handover_box *b, struct handover *h)
{
	struct handover *before = atomic_load_explicit(&b->newest, memory_order_relaxed);

	do
		h->next = before;
	while (!atomic_compare_exchange_weak(&b->newest, &before, h));
	return before ? 0 : 1; /* @h is the owner's from now on */
}

int handover_put(struct handover_box *b, const struct listener *l, int fd,
		 const struct addr *client)
{
	struct handover *h = NEW0(struct handover);

	if (!h)
		return -ENOMEM;
	h->listener = l;
	h->fd = fd;
	h->client = *client;
	return handover_push(b, h);
}

struct handover *handover_take(struct handover_box *b)
{
	struct handover *h, *next, *oldest = NULL;

	for (h = atomic_exchange(&b->newest, NULL); h; h = next) {
		next = h->next;
		h->next = oldest;
		oldest = h;
	}
	return oldest;
}
