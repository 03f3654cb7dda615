/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostname.h"
#include "base/text.h"
#include "engine/names.h"

#define SERVERS_MAX 32

/* "name:port" */
static int name_parse(const char *text, char ret_name[static HOSTNAME_CAP], uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':'), *last;
	char port_text[sizeof("0.0.0.0:65535")];
	struct addr port;

	if (!colon || strlen(colon) >= sizeof(":65535"))
		return -EINVAL;
	snprintf(port_text, sizeof(port_text), "0.0.0.0%s", colon);
	if (addr_parse(port_text, &port) < 0 || !port.port)
		return -EINVAL;
	*ret_port = port.port;
	if (hostname_parse(span_of(text, (size_t)(colon - text)), ret_name) < 0)
		return -EINVAL;
	/* what ends in a number is an address with a slip in it */
	last = strrchr(ret_name, '.');
	last = last ? last + 1 : ret_name;
	return strspn(last, "0123456789") == strlen(last) ? -EINVAL : 0;
}

int target_parse(const char *text, struct listener_config *l)
{
	char name[HOSTNAME_CAP];

	if (!addr_parse(text, &l->to) && l->to.port)
		return 0;
	l->to = (struct addr){ 0 };
	if (name_parse(text, name, &l->to_name.port) < 0)
		return -EINVAL;
	l->to_name.name = text_dup(span_str(name));
	return l->to_name.name ? 0 : -ENOMEM;
}

void target_load(const struct yaml_node *to, struct listener_config *l, struct diag *d)
{
	int r = target_parse(to->text, l);

	if (r == -EINVAL)
		diag_add(d, to->at, to->text,
			 "ip:port as 192.0.2.1:5432 or [2001:db8::1]:5432, "
			 "name:port as db.example:5432",
			 "neither ip:port nor name:port");
	else if (r < 0)
		diag_no_memory(d);
}

void endpoint_load(const struct yaml_node *node, struct addr *ret, char **ret_name, struct diag *d)
{
	struct listener_config l = { 0 };

	target_load(node, &l, d);
	*ret = l.to;
	if (!l.to_name.name)
		return;
	ret->port = l.to_name.port;
	*ret_name = l.to_name.name;
}

/* "ip" or "ip:port" */
static int server_parse(const char *text, struct addr *ret)
{
	if (!addr_parse_ip(text, ret))
		return 0;
	return addr_parse(text, ret) < 0 || !ret->port ? -EINVAL : 0;
}

void resolver_servers_load(struct yaml_node *servers, struct resolver_settings *ret,
			   struct diag *d)
{
	size_t n = servers && servers->kind == YAML_LIST ? servers->n : 1;

	if (!servers)
		return;
	if (n > SERVERS_MAX) {
		diag_add(d, servers->at, NULL, NULL, "more than %d servers", SERVERS_MAX);
		return;
	}
	ret->servers = calloc(n, sizeof(*ret->servers));
	if (!ret->servers) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *s = yaml_first(servers); s; s = yaml_next(servers, s)) {
		struct addr *a = &ret->servers[ret->n_servers++];

		if (server_parse(s->text, a) < 0)
			diag_add(d, s->at, s->text, "ip as 192.0.2.1 or \"2001:db8::1\", ip:port",
				 "neither ip nor ip:port");
		else if (a->scope_id || addr_is_unspecified(a))
			diag_add(d, s->at, s->text, NULL,
				 "a server needs an address of its own, without an interface");
	}
}
