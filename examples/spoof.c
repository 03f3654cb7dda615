/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spoof FROM_IP:PORT TO_IP:PORT [TEXT]: one datagram from an address that is not this host's.
 *
 * IP_TRANSPARENT lets a socket be bound to any address; the kernel then sends as if the address
 * were its own.  It takes CAP_NET_RAW or CAP_NET_ADMIN.  Routers on the way may drop what comes
 * from where it cannot come from, and answers go to whoever has that address.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* "192.0.2.1:53" or "[2001:db8::1]:53".  Return: 0, or -1 with a message. */
static int parse(char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_DGRAM },
			*found;
	char *port = strrchr(text, ':'), *ip = text;

	if (port) {
		*port++ = '\0';
		if (*ip == '[' && ip[strlen(ip) - 1] == ']') {
			ip[strlen(ip) - 1] = '\0';
			ip++;
		}
	}
	if (!port || !*ip || getaddrinfo(ip, port, &hints, &found)) {
		fprintf(stderr, "spoof: %s is no IP:PORT\n", text);
		return -1;
	}
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	*ret_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int failed(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	const char *text = argc > 3 ? argv[3] : "hi!";
	struct sockaddr_storage from, to;
	socklen_t from_len, to_len;
	int fd, r, on = 1;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: spoof FROM_IP:PORT TO_IP:PORT [TEXT]\n");
		return 2;
	}
	if (parse(argv[1], &from, &from_len) < 0 || parse(argv[2], &to, &to_len) < 0)
		return 2;
	fd = socket(from.ss_family, SOCK_DGRAM, 0);
	if (fd < 0)
		return failed("spoof: socket");
	r = from.ss_family == AF_INET6
		    ? setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on))
		    : setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on));
	if (r < 0)
		return failed("spoof: IP_TRANSPARENT");
	if (bind(fd, (struct sockaddr *)&from, from_len) < 0)
		return failed("spoof: bind");
	if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, to_len) < 0)
		return failed("spoof: sendto");
	close(fd);
	return 0;
}
