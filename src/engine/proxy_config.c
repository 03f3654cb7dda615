/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/proxy_config.h"

void proxy_config_load(const struct yaml_node *map, struct listener_config *l, struct diag *d)
{
	const struct yaml_node *header = yaml_get(map, "proxy-protocol");
	const struct yaml_node *trusted = yaml_get(map, "trusted"), *n;
	bool is_mode = l->mode == LISTENER_PROXY_PROTOCOL;

	l->proxy = is_mode || header;
	l->proxy_header.names_target = is_mode;
	l->proxy_header.any_transport = l->mode == LISTENER_DNS;
	l->proxy_header.required = is_mode || (header && header->value);
	if (is_mode && header)
		diag_add(d, header->key->at, "proxy-protocol", NULL,
			 "without effect for mode proxy-protocol: it requires the header");
	if (!l->proxy) {
		if (trusted)
			diag_add(d, trusted->key->at, "trusted", "this key with proxy-protocol",
				 "without effect where no header is read");
		return;
	}
	for (n = map->child; n && strcmp(n->key->text, "trusted"); n = n->next)
		;
	if (!n)
		diag_add(d, map->at, "trusted", "address, network or $set, a list of these",
			 "this key is missing: who may say who the client is?");
	if (is_mode && l->networks & 1u << NETWORK_UDP && l->to_name.name)
		diag_add(d, yaml_get(map, "to")->at, "to", "ip:port, or network: tcp",
			 "datagrams are not sent to a name");
	if (l->honest)
		diag_add(d, yaml_get(map, "connect")->at, "honest", "early",
			 "the header comes only once the client is connected");
}

void proxy_config_trust(struct yaml_node *listeners, struct sets *sets, struct config *c)
{
	size_t n = 0;

	for (struct yaml_node *l = yaml_first(listeners); l; l = yaml_next(listeners, l), n++) {
		struct yaml_node *trusted = yaml_get(l, "trusted");
		struct set in_place;
		const struct set *set =
			trusted ? set_of(sets, trusted, SET_NETS, c->policy, &in_place) : NULL;

		c->listeners[n].proxy_header.trusted = set ? set->nets : NULL;
	}
}
