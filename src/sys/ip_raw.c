/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "sys/ip_raw.h"
#include "sys/sockaddr.h"

int ip_raw_open(uint8_t family, uint32_t mark)
{
	_cleanup_close_ int fd = socket(family == 4 ? AF_INET : AF_INET6,
					SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
	int on = 1, r;

	if (fd < 0)
		return -errno;
	r = family == 4 ? setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on))
			: setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on));
	if (!r && mark)
		r = setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	return r < 0 ? -errno : TAKE_FD(fd);
}

int ip_raw_send(int fd, const struct addr *to, struct span packet)
{
	struct addr ip = *to;
	union sockaddr_any s;
	socklen_t len;

	ip.port = 0; /* an IPv6 raw socket refuses any other */
	len = sockaddr_from_addr(&s, &ip);
	if (sendto(fd, packet.data, packet.len, MSG_DONTWAIT | MSG_NOSIGNAL, &s.sa, len) < 0)
		return -errno;
	return 0;
}
