/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_CHANNEL_H
#define DIAL_CHANNEL_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/addr.h"
#include "base/list.h"
#include "loop/loop.h"

struct channel;
struct worker;

/* Of one answer; what is more is left out. */
#define ADDRESSES_MAX 32

/**
 * struct question - addresses of one family for a name, embedded in its owner
 * @done:	called once, possibly from within channels_ask(); may neither ask nor run flows, for
 *		which channels.settled is there.  @error as in struct answer; @ttl_s with @n
 */
struct question {
	void (*done)(struct question *q, int error, const struct addr *addrs, unsigned int n,
		     uint32_t ttl_s);
	struct channel *channel;
	uint8_t family;
};

/**
 * struct channels - what one worker asks name servers through
 * @list:	of c-ares; the newest, to be asked, is the last
 * @settled:	questions may have been answered, and c-ares has returned
 * @file:	resolv.conf as it was when the newest channel was made
 */
struct channels {
	struct worker *worker;
	struct list list, sockets;
	struct timer timer;
	struct task task;
	void (*settled)(struct channels *c);
	struct stat file;
	uint64_t looked_at_file_ms;
};

void channels_init(struct channels *c, struct worker *w, void (*settled)(struct channels *c));

/* Questions that are open end with an error. */
void channels_done(struct channels *c);

/* Ask for addresses of @q->family of @name, which is valid.  Return: 0, or -EIO. */
int channels_ask(struct channels *c, const char *name, struct question *q);

#endif
