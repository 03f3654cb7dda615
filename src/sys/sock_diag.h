/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SYS_SOCK_DIAG_H
#define SYS_SOCK_DIAG_H

#include "base/addr.h"

/**
 * sock_diag_end_time_wait() - end the TIME_WAIT of one connection of this host
 * @local:	its end here (which may be a foreign address: a transparent socket's)
 * @remote:	the other end; both with ports, of one family
 *
 * Looks first, then destroys exactly what it has seen (sock_diag(7), SOCK_DESTROY, by cookie):
 * a connection that is alive, or still being closed, is never touched.
 *
 * Return: 0 it is gone; -EBUSY the connection is not in TIME_WAIT; -ENOENT there is none; -EPERM
 * without CAP_NET_ADMIN; -EOPNOTSUPP a kernel without INET_DIAG_DESTROY; or another -errno.
 */
int sock_diag_end_time_wait(const struct addr *local, const struct addr *remote);

#endif
