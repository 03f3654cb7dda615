/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NETNS_SOCKETS_H
#define SYS_NETNS_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/netns.h"

/*
 * Where the rules send what the command sends: addresses that nobody has (benchmarks, and the
 * discard prefix), so that no socket of the command can be in the way of ours or ours in its.
 */
#define NETNS_LISTEN_V4 "198.18.0.1"
#define NETNS_LISTEN_V6 "100::1"
#define NETNS_LISTEN_PORT 1

/**
 * netns_sockets_make() - the sockets of struct netns_sockets, in the namespace of this process
 * @with_v6:	else the IPv6 ones become -1
 * @wish:	as in netns_command_new()
 * @mark:	SO_MARK of all of them, so that what they send is not intercepted
 * @ret:	complete only on success; else nothing is left open
 * @ret_what:	on error what was refused, as a constant string
 *
 * Return: 0 or -errno.
 */
int netns_sockets_make(bool with_v6, const struct netns_wish *wish, uint32_t mark,
		       struct netns_sockets *ret, const char **ret_what);

void netns_sockets_close(struct netns_sockets *s);

#endif
