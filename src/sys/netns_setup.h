/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NETNS_SETUP_H
#define SYS_NETNS_SETUP_H

#include "sys/netns.h"

/**
 * netns_setup() - move this process into a network namespace all of whose traffic is intercepted
 * @ret:	the sockets at which it arrives
 * @error:	on failure a sentence for people: what was refused, by what, and the cure
 * @error_cap_bytes: room in @error
 *
 * To be called by a process of one thread.  Afterwards it can become the command by execve(2).
 *
 * Return: 0 or -errno with @error set.
 */
int netns_setup(const struct netns_wish *wish, struct netns_sockets *ret, char *error,
		size_t error_cap_bytes);

#endif
