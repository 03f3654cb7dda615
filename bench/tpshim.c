/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD for nginx, which has no option for it: every TCP socket that listens becomes
 * transparent, so that a tproxy rule may give it connections to addresses that are not ours.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

int listen(int fd, int backlog)
{
	int (*next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "listen");
	const int one = 1;

	/* Whichever family the socket is not of refuses; that is no error here. */
	setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof(one));
	return next(fd, backlog);
}
