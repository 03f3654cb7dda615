/* SPDX-License-Identifier: Apache-2.0 */
/* Which servers are asked: those of the configuration, else those of the host. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/worker.h"
#include "proto/dns_desk.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define LOOK_AT_FILE_MS 1000

static void file_read(struct dns_desk *d)
{
	_cleanup_fclose_ FILE *f = fopen(RESOLV_CONF, "re");
	char line[512], ip[ADDR_TEXT_MAX];
	struct addr a;

	d->n_host_servers = 0;
	while (f && d->n_host_servers < DNS_SERVERS_MAX && fgets(line, sizeof(line), f))
		if (sscanf(line, "nameserver %79s", ip) == 1 && addr_parse_ip(ip, &a) == 0)
			d->host_servers[d->n_host_servers++] = a;
	if (!d->n_host_servers) /* resolv.conf(5) */
		addr_parse_ip("127.0.0.1", &d->host_servers[d->n_host_servers++]);
}

static void file_look(struct dns_desk *d)
{
	uint64_t now_ms = loop_now_ms(&d->worker->loop);
	struct stat st = { 0 };

	if (d->n_host_servers && now_ms < d->looked_at_file_ms + LOOK_AT_FILE_MS)
		return;
	d->looked_at_file_ms = now_ms;
	(void)stat(RESOLV_CONF, &st);
	if (d->n_host_servers && st.st_mtim.tv_sec == d->file.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == d->file.st_mtim.tv_nsec && st.st_ino == d->file.st_ino &&
	    st.st_size == d->file.st_size)
		return;
	d->file = st;
	file_read(d);
}

size_t dns_servers(struct dns_desk *d, const struct addr **ret)
{
	const struct resolver_settings *s = &d->worker->realm->snapshot->resolver;

	if (s->n_servers) {
		*ret = s->servers;
		return s->n_servers;
	}
	file_look(d);
	*ret = d->host_servers;
	return d->n_host_servers;
}
