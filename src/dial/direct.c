/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "core/flow.h"
#include "dial/direct.h"
#include "dial/source.h"
#include "sys/sock.h"

static int direct_dial(struct flow *f)
{
	int fd = source_connect(f, &f->facts.target, &f->plan, &f->source_got);

	if (fd < 0)
		return fd;
	f->server.fd = fd;
	return 0;
}

static int direct_dialled(struct flow *f)
{
	struct end *s = &f->server;

	if (s->failed) {
		int r = sock_take_error(s->fd);

		/* it was there, and what it had sent before it reset is still to be read */
		if (r == -ECONNRESET || r == -EPIPE)
			return 0;
		return r < 0 ? r : -ECONNRESET;
	}
	if (!s->writable)
		return -EAGAIN;
	sock_connected(s->fd, f->facts.target.family);
	return 0;
}

const struct dialer_ops direct_dialer_ops = {
	.name = "direct",
	.dial = direct_dial,
	.dialled = direct_dialled,
};
