/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/cleanup.h"
#include "sys/route.h"
#include "sys/sockaddr.h"

int route_source(const struct addr *to, uint32_t mark, struct addr *ret)
{
	_cleanup_close_ int fd = socket(to->family == 4 ? AF_INET : AF_INET6,
					SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	union sockaddr_any s;
	socklen_t len = sizeof(s);

	if (fd < 0)
		return -errno;
	if (mark) /* where it may not be set, no rule can ask for it */
		(void)!setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	if (connect(fd, &s.sa, sockaddr_from_addr(&s, to)) < 0 || getsockname(fd, &s.sa, &len) < 0)
		return -errno;
	sockaddr_to_addr(&s, ret);
	return 0;
}
