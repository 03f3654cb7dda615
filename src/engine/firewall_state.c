/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/firewall_state.h"

#define FIRST_LINE "limpid firewall 1"

const char *const firewall_value_names[FIREWALL_VALUES] = {
	[FIREWALL_VALUE_DEMUX] = FIREWALL_DEMUX,
	[FIREWALL_VALUE_PORTS] = FIREWALL_PORTS,
};

void firewall_state_done(struct firewall_state *s)
{
	for (size_t i = 0; i < FIREWALL_VALUES; i++) {
		free(s->values[i].was);
		free(s->values[i].set);
	}
	*s = (struct firewall_state){ 0 };
}

/* The next line without its newline. */
static int line_read(FILE *f, char **line)
{
	size_t cap = 0;
	ssize_t len;

	free(*line);
	*line = NULL;
	len = getline(line, &cap, f);
	if (len <= 0 || (*line)[len - 1] != '\n')
		return -EBADMSG;
	(*line)[len - 1] = '\0';
	return 0;
}

static int head_read(FILE *f, struct firewall_state *s)
{
	struct firewall_place *p = &s->place;
	_cleanup_free_ char *line = NULL;
	unsigned int v6, held;

	if (line_read(f, &line) < 0 || strcmp(line, FIRST_LINE) != 0 || line_read(f, &line) < 0 ||
	    sscanf(line, "cookie %" SCNu64 " owner %" SCNu64, &s->cookie, &s->owner) != 2 ||
	    line_read(f, &line) < 0 ||
	    sscanf(line, "place %71s %" SCNx32 " %" SCNx32 " %" SCNu32 " %" SCNu32 " %" SCNu32
			 " %u %u",
		   p->table, &p->divert_mark, &p->mask, &p->marks, &p->route_table,
		   &p->rule_priority, &v6, &held) != 8)
		return -EBADMSG;
	p->v6 = v6;
	p->held = held;
	return 0;
}

/* Two lines for each value that was changed: "set NAME VALUE", "was NAME VALUE". */
static int values_read(FILE *f, struct firewall_state *s)
{
	_cleanup_free_ char *line = NULL;

	while (!line_read(f, &line)) {
		if (!strcmp(line, "end"))
			return 0;
		for (size_t i = 0; i < FIREWALL_VALUES; i++) {
			const char *name = firewall_value_names[i];
			size_t len = strlen(name);
			char **to = line[0] == 's' ? &s->values[i].set : &s->values[i].was;

			if (strlen(line) <= len + 4 || strncmp(line + 4, name, len) != 0 || *to)
				continue;
			*to = strdup(line + 4 + len + 1);
			if (!*to)
				return -ENOMEM;
		}
	}
	return -EBADMSG;
}

int firewall_state_read(const char *path, struct firewall_state *ret)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	struct firewall_state s = { 0 };
	int r;

	if (!f)
		return -errno;
	r = head_read(f, &s);
	if (!r)
		r = values_read(f, &s);
	if (r < 0)
		firewall_state_done(&s);
	else
		*ret = s;
	return r;
}

int firewall_state_write(const char *path, const struct firewall_state *s)
{
	const struct firewall_place *p = &s->place;
	char temporary[160];
	FILE *f;
	int r;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	f = fopen(temporary, "we");
	if (!f)
		return -errno;
	fprintf(f,
		FIRST_LINE "\ncookie %" PRIu64 " owner %" PRIu64 "\nplace %s %#" PRIx32
			   " %#" PRIx32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %u %u\n",
		s->cookie, s->owner, p->table, p->divert_mark, p->mask, p->marks, p->route_table,
		p->rule_priority, p->v6, p->held);
	for (size_t i = 0; i < FIREWALL_VALUES; i++)
		if (s->values[i].set)
			fprintf(f, "set %s %s\nwas %s %s\n", firewall_value_names[i],
				s->values[i].set, firewall_value_names[i], s->values[i].was);
	fputs("end\n", f);
	r = fflush(f) || ferror(f) ? -errno : 0;
	if (fclose(f) && !r)
		r = -errno;
	if (!r && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(temporary);
	return r;
}
