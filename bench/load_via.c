/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tunnel through a proxy, as clients ask for one: each question waits for the answer to the one
 * before it.  Nothing behind the last answer is read, for the origin may have spoken already.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "load.h"

#define HEAD_MAX_BYTES 2048

/* Type, address and port as RFC 1928 writes them; returns their length, 7 or 19. */
size_t socks_address(uint8_t *dst, const struct sockaddr_storage *to)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)to;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)to;

	if (to->ss_family == AF_INET) {
		dst[0] = 1;
		memcpy(dst + 1, &in->sin_addr, 4);
		memcpy(dst + 5, &in->sin_port, 2);
		return 7;
	}
	dst[0] = 4;
	memcpy(dst + 1, &in6->sin6_addr, 16);
	memcpy(dst + 17, &in6->sin6_port, 2);
	return 19;
}

size_t host_port(char *dst, size_t cap, const struct sockaddr_storage *to)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)to;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)to;
	char text[INET6_ADDRSTRLEN];

	if (to->ss_family == AF_INET)
		return (size_t)snprintf(dst, cap, "%s:%u",
					inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)),
					ntohs(in->sin_port));
	return (size_t)snprintf(dst, cap, "[%s]:%u",
				inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text)),
				ntohs(in6->sin6_port));
}

static int say(int fd, const void *bytes, size_t len)
{
	return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -EIO;
}

static int socks_go_on(struct tunnel *n, int fd, const struct sockaddr_storage *to)
{
	uint8_t text[22] = { 0 };
	size_t want = n->said == 1 ? 2 : to->ss_family == AF_INET ? 10 : 22;
	ssize_t r = recv(fd, text, want, MSG_PEEK);

	if (r <= 0)
		return r < 0 && errno == EAGAIN ? 0 : r < 0 ? -errno : -EPIPE;
	if (text[0] != 5 || (r > 1 && text[1] != 0))
		return -EPROTO;
	if (n->said == 2 && r > 3) /* whatever family it answers with */
		want = text[3] == 1 ? 10 : 22;
	if ((size_t)r < want)
		return 0;
	recv(fd, text, want, 0);
	if (n->said++ == 2)
		return 1;
	memcpy(text, (uint8_t[]){ 5, 1, 0 }, 3);
	return say(fd, text, 3 + socks_address(text + 3, to));
}

static int connect_go_on(int fd)
{
	char text[HEAD_MAX_BYTES];
	ssize_t r = recv(fd, text, sizeof(text), MSG_PEEK);
	const char *end;

	if (r <= 0)
		return r < 0 && errno == EAGAIN ? 0 : r < 0 ? -errno : -EPIPE;
	if ((size_t)r < 12 || memcmp(text + 8, " 200", 4) != 0)
		return (size_t)r < 12 ? 0 : -EPROTO;
	end = memmem(text, (size_t)r, "\r\n\r\n", 4);
	if (!end)
		return (size_t)r < sizeof(text) ? 0 : -EPROTO;
	recv(fd, text, (size_t)(end + 4 - text), 0);
	return 1;
}

int tunnel_begin(struct tunnel *n, int fd, enum via via, const struct sockaddr_storage *to)
{
	char name[64], text[256];

	n->said = 1;
	if (via == VIA_SOCKS5)
		return say(fd, (uint8_t[]){ 5, 1, 0 }, 3);
	host_port(name, sizeof(name), to);
	return say(fd, text, (size_t)snprintf(text, sizeof(text),
					      "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", name,
					      name));
}

int tunnel_go_on(struct tunnel *n, int fd, enum via via, const struct sockaddr_storage *to)
{
	return via == VIA_SOCKS5 ? socks_go_on(n, fd, to) : connect_go_on(fd);
}
