/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/config.h"
#include "engine/dns_sockets.h"
#include "sys/udp.h"

int dns_sockets_listen(struct dns_sockets *s, const struct addr *a, uint16_t index,
		       const struct listener_config *l, uint32_t mark)
{
	struct dns_socket *list = reallocarray(s->list, s->n + 1, sizeof(*list));
	int fd;

	if (!list)
		return -ENOMEM;
	s->list = list;
	fd = udp_listen(a, false, mark);
	if (fd < 0)
		return fd;
	list[s->n++] = (struct dns_socket){
		.fd = fd,
		.listener = index,
		.name = l->name,
		.header = l->proxy ? &l->proxy_header : NULL,
	};
	return 0;
}

void dns_sockets_done(struct dns_sockets *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->list[i].fd);
	free(s->list);
	*s = (struct dns_sockets){ 0 };
}
