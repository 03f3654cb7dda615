/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_NETNS_LINK_H
#define SYS_NETNS_LINK_H

#include "sys/netns_host.h"

/**
 * netns_link_setup() - loopback of the namespace this process is in: up, addresses, routes
 * @h:		what to imitate
 * @mark:	packets that carry this firewall mark are local whatever their destination
 * @ret_what:	on error the step that the kernel refused, as a constant string
 *
 * Return: 0 or -errno.
 */
int netns_link_setup(const struct netns_host *h, uint32_t mark, const char **ret_what);

#endif
