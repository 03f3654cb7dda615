/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "engine/firewall_nets.h"

size_t firewall_nets_index(const struct firewall_nets *all, const struct netset *nets)
{
	size_t i = 0;

	while (i < all->n && all->list[i] != nets)
		i++;
	return i;
}

bool firewall_nets_have(const struct netset *nets, uint8_t family)
{
	struct addr first, last;

	return !nets || netset_range(nets, family, 0, &first, &last);
}

static void add(struct firewall_nets *all, const struct netset *nets)
{
	if (nets && firewall_nets_index(all, nets) == all->n)
		all->list[all->n++] = nets;
}

int firewall_nets_gather(const struct firewall_config *f, struct firewall_nets *ret)
{
	*ret = (struct firewall_nets){ 0 };
	ret->list = calloc(2 * (f->n_intercept + f->n_exempt) + 1, sizeof(struct netset *));
	if (!ret->list)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_intercept + f->n_exempt; i++) {
		const struct firewall_match *m =
			i < f->n_intercept ? &f->intercept[i] : &f->exempt[i - f->n_intercept];

		add(ret, m->source);
		add(ret, m->destination);
	}
	return 0;
}

static void print(const struct firewall_nets *all, size_t index, uint8_t family, FILE *to)
{
	const struct netset *nets = all->list[index];
	struct addr first, last;
	char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];

	if (!firewall_nets_have(nets, family))
		return;
	fprintf(to, "\tset nets%zu-v%u {\n\t\ttype ipv%u_addr; flags interval;\n\t\telements = {",
		index, family, family);
	for (size_t i = 0; netset_range(nets, family, i, &first, &last); i++) {
		fprintf(to, "%s%s", i ? ", " : " ", addr_format_ip(&first, a));
		if (!addr_ip_eq(&first, &last))
			fprintf(to, "-%s", addr_format_ip(&last, b));
	}
	fputs(" }\n\t}\n", to);
}

void firewall_nets_print(const struct firewall_nets *all, bool v6, FILE *to)
{
	for (size_t i = 0; i < all->n; i++)
		for (uint8_t family = 4; family <= (v6 ? 6 : 4); family += 2)
			print(all, i, family, to);
}
