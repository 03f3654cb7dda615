/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_HOST_H
#define SYS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Has this process CAP_NET_ADMIN? */
bool host_may_admin_net(void);

/* Is there IPv6 in this network namespace, not switched off for all interfaces? */
bool host_has_v6(void);

/* What stands in front of paths of cgroup v2 below /sys/fs/cgroup: "" or "unified/". */
const char *host_cgroup_prefix(void);

/**
 * host_namespace() - which network namespace this process is in
 * @ret_inode:	as in /proc/PID/ns/net; used again when the namespace is gone
 * @ret_cookie:	never used again; 0 where the kernel has none (before 5.14)
 *
 * Return: 0 or -errno.
 */
int host_namespace(uint64_t *ret_inode, uint64_t *ret_cookie);

/**
 * host_value_read() - a value below /proc/sys
 * @path:	"net/ipv4/…"
 * @ret:	without the newline, to be freed
 *
 * Return: 0 or -errno.
 */
int host_value_read(const char *path, char **ret);
int host_value_write(const char *path, const char *value);

#endif
