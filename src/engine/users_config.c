/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/users.h"
#include "engine/file.h"
#include "engine/users_config.h"
#include "engine/words.h"

static void file_load(const struct yaml_node *users, const char *folder, struct config *c,
		      struct diag *d)
{
	const struct yaml_node *file = yaml_get(users, "file");
	_cleanup_free_ char *path = file ? file_below(folder, file->text) : NULL;
	char text[64];
	unsigned int line;
	int r;

	if (!file)
		return;
	r = path ? users_load(users->key->text, path, &c->users[c->n_users], &line) : -ENOMEM;
	if (!r)
		c->n_users++;
	else if (r == -ENOMEM)
		diag_no_memory(d);
	else
		diag_add(d, file->at, file->text,
			 r == -EINVAL && line ? "name:hash, as limpid users makes it" : NULL, "%s",
			 users_error(r, line, text, sizeof(text)));
}

void users_config_load(struct yaml_node *node, const char *folder, struct config *c, struct diag *d)
{
	if (!node || !node->n)
		return;
	c->users = calloc(node->n, sizeof(*c->users));
	if (!c->users) {
		diag_no_memory(d);
		return;
	}
	for (struct yaml_node *n = node->child; n && !d->no_memory; n = n->next)
		if (!n->bad)
			file_load(n, folder, c, d);
}

struct users *users_config_find(const struct yaml_node *name, const struct config *c,
				struct diag *d)
{
	struct words words = { .wanted = name->text };
	char perhaps[96];

	for (size_t i = 0; i < c->n_users; i++) {
		if (!strcmp(users_name(c->users[i]), name->text))
			return c->users[i];
		words_add(&words, users_name(c->users[i]));
	}
	if (!diag_failed(d)) /* else it may be one of those that could not be read */
		diag_add(d, name->at, name->text, words.len ? words.text : NULL,
			 "there are no such users%s", words_perhaps(&words, perhaps));
	return NULL;
}
