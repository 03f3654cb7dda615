/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Where more connections come than can be served, a long backlog serves
 * nobody: it is always full, each connection waits for as long as all before it take, and most
 * are accepted when their client has given up, which cannot be seen (a request and a FIN may be
 * all that a client has to say).  A short backlog serves those it takes in time; the kernel drops
 * the SYN of the others, which costs next to nothing, and they try again.  But a short one is no
 * good for a burst that could be served.
 *
 * So the backlog is long until connections are seen to have waited for more than TARGET_MS.  It
 * is then cut in the proportion that they waited too long, which by Little's law makes those wait
 * as wanted that come when it is full, and grows back while they do.  How long it was is known
 * from one connection in LOOK_MS, by the time since it was made or has sent something.  Where a
 * limit is reached connections wait because they are to wait: for EXCUSED_MS nobody looks.
 */
#include "core/backlog.h"
#include "sys/sock.h"

#define LOOK_MS 100
#define TARGET_MS 100
#define EXCUSED_MS 5000

void backlog_excuse(struct backlog *b, uint64_t now_ms)
{
	atomic_store(&b->due_ms, now_ms + EXCUSED_MS);
}

void backlog_look(struct backlog *b, int listen_fd, int fd, uint64_t now_ms)
{
	unsigned long long due = atomic_load_explicit(&b->due_ms, memory_order_relaxed);
	unsigned int old = atomic_load(&b->cut), cut;
	int64_t waited;

	if (now_ms < due || !atomic_compare_exchange_strong(&b->due_ms, &due, now_ms + LOOK_MS))
		return;
	waited = sock_silent_ms(fd);
	if (waited < 0)
		return;
	cut = old ? old : BACKLOG_MAX;
	if (waited > TARGET_MS)
		cut = (unsigned int)(cut * TARGET_MS / waited);
	else
		cut += cut / 4;
	if (cut < BACKLOG_MIN)
		cut = BACKLOG_MIN;
	if (cut >= BACKLOG_MAX)
		cut = 0;
	if (cut != old && sock_set_backlog(listen_fd, cut ? cut : BACKLOG_MAX) >= 0)
		atomic_store(&b->cut, cut);
}
