/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/knock.h"
#include "engine/knocks.h"
#include "sys/ip_raw.h"
#include "sys/nfqueue.h"

#define FDS_PER_QUEUE 3

struct knocks {
	struct knock_table table;
	unsigned int n_queues;
	struct knock_queue queues[];
};

struct knocks *knocks_new(size_t n_queues)
{
	struct knocks *k = calloc(1, sizeof(*k) + n_queues * sizeof(k->queues[0]));
	uint64_t seed = 0;

	if (!k)
		return NULL;
	(void)getrandom(&seed, sizeof(seed), 0);
	knock_table_init(&k->table, seed);
	return k;
}

void knocks_adopt(struct knocks *k, uint16_t number, int queue_fd, const int raw_fd[2])
{
	k->queues[k->n_queues++] = (struct knock_queue){
		.fd = queue_fd,
		.number = number,
		.raw_fd = { raw_fd[0], raw_fd[1] },
	};
}

int knocks_listen(struct knocks *k, uint16_t number, uint32_t length, bool early, uint32_t mark)
{
	int fd = nfqueue_open(number, IP_TCP_HEAD_MAX, length, early);
	int raw_fd[2];

	if (fd < 0)
		return fd;
	raw_fd[0] = ip_raw_open(4, mark);
	raw_fd[1] = ip_raw_open(6, mark);
	knocks_adopt(k, number, fd, raw_fd);
	if (raw_fd[0] < 0)
		return raw_fd[0];
	return raw_fd[1] == -EAFNOSUPPORT || raw_fd[1] >= 0 ? 0 : raw_fd[1];
}

void knocks_lead_to(struct knocks *k, struct listener *l, uint8_t family)
{
	k->queues[k->n_queues - 1].listener[family == 6] = l;
	l->honest = true;
}

void knocks_join(struct knocks *k, struct realm *r)
{
	r->knocks = &k->table;
	r->knock_queues = k->queues;
	r->n_knock_queues = k->n_queues;
}

size_t knocks_descriptors(const struct knocks *k)
{
	return (size_t)k->n_queues * FDS_PER_QUEUE;
}

void knocks_free(struct knocks *k)
{
	if (!k)
		return;
	for (unsigned int i = 0; i < k->n_queues; i++) {
		const struct knock_queue *q = &k->queues[i];
		int fds[FDS_PER_QUEUE] = { q->fd, q->raw_fd[0], q->raw_fd[1] };

		for (size_t n = 0; n < FDS_PER_QUEUE; n++)
			if (fds[n] >= 0)
				close(fds[n]);
	}
	knock_table_done(&k->table);
	free(k);
}
