/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NFQUEUE_H
#define SYS_NFQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/*
 * NFQUEUE: packets that a firewall rule hands to this process, which says what becomes of
 * each.  Until it has, the kernel keeps the packet; when the descriptor is closed (or the
 * process dies), it drops all it kept.
 */

#define NFQUEUE_BATCH 16

/**
 * struct nfqueue_packet - one packet that waits for a verdict
 * @id:		what the verdict is about
 * @in_ifindex:	interface it came in by, 0: not known
 * @head:	its beginning, from the IP header on; valid until the batch is next used
 */
struct nfqueue_packet {
	uint32_t id;
	uint32_t in_ifindex;
	struct span head;
};

/* Room for what nfqueue_read() brings and for verdicts; one per thread is enough.  NULL: no
 * memory. */
struct nfqueue_batch;
struct nfqueue_batch *nfqueue_batch_new(void);
void nfqueue_batch_free(struct nfqueue_batch *b);

/**
 * nfqueue_open() - become the reader of a queue of this network namespace
 * @number:	of the queue, as in the rule
 * @head_bytes:	how much of each packet to bring
 * @length:	packets that may wait at once
 * @open:	what does not fit in passes, else it is dropped
 *
 * Return: a non-blocking descriptor; -EPERM without CAP_NET_ADMIN, or if somebody else reads it;
 * -EINVAL or -EOPNOTSUPP: a kernel without nfnetlink_queue; or another -errno.
 */
int nfqueue_open(uint16_t number, uint32_t head_bytes, uint32_t length, bool open);

/**
 * nfqueue_read() - packets that have come
 * @ret:	room for NFQUEUE_BATCH
 *
 * Any thread may call it, with a batch of its own.  Return: packets (0: only other messages came,
 * there may be more), -EAGAIN, or another -errno.
 */
int nfqueue_read(int fd, struct nfqueue_batch *b, struct nfqueue_packet *ret);

/**
 * nfqueue_verdict() - let a packet go on its way (after the rule that held it), or drop it
 *
 * Any thread may call it.  Return: 0 or -errno.
 */
int nfqueue_verdict(int fd, uint16_t number, uint32_t id, bool accept);

/* The packet may go on its way with the next nfqueue_flush(), together with others. */
void nfqueue_accept_later(struct nfqueue_batch *b, int fd, uint16_t number, uint32_t id);
void nfqueue_flush(struct nfqueue_batch *b);

#endif
