/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/handover.h"

int handover_put(struct handover_box *b, const struct listener *l, int fd,
		 const struct addr *client)
{
	struct handover *h = NEW0(struct handover);

	if (!h)
		return -ENOMEM;
	h->listener = l;
	h->fd = fd;
	h->client = *client;
	h->next = atomic_load_explicit(&b->newest, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&b->newest, &h->next, h))
		;
	return h->next ? 0 : 1;
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
