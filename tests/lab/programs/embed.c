/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed FIRST SECOND: two engines at once, with configurations of their own.  The interceptor of
 * the first turns small letters into capitals and leaves a flow at the first dot; the second has
 * none.  At TERM the first is drained, the second stopped, and a third takes the place of the
 * first; at the next TERM it is stopped.
 */
#include <limpid/limpid.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum limpid_verdict shout(struct limpid_flow *flow, void *state,
				 enum limpid_direction direction, const uint8_t *bytes, size_t len,
				 bool end, struct limpid_output *out)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = bytes[i] >= 'a' && bytes[i] <= 'z' ? bytes[i] - 32 : bytes[i];

		if (limpid_output_write(out, &c, 1) < 0)
			return LIMPID_END;
	}
	if (len && memchr(bytes, '.', len))
		limpid_leave(flow);
	return LIMPID_REPLACE;
}

static void closed(void *name, struct limpid_flow *flow)
{
	printf("%s %s %s\n", (const char *)name, limpid_flow_rule(flow), limpid_flow_why(flow));
}

static void check(struct limpid *limpid, int r)
{
	if (!r)
		return;
	fprintf(stderr, "embed: %s\n", limpid_error(limpid));
	exit(1);
}

static struct limpid *begin(const char *name, const char *path, bool shouts)
{
	const struct limpid_interceptor shouter = { .size = sizeof(shouter),
						    .name = "shouter",
						    .data = shout };
	const struct limpid_events events = { .size = sizeof(events), .closed = closed };
	struct limpid *limpid;

	if (limpid_new(NULL, &limpid) < 0)
		exit(1);
	check(limpid, limpid_configure_file(limpid, path));
	check(limpid, limpid_set_events(limpid, &events, (void *)name));
	if (shouts)
		check(limpid, limpid_add_interceptor(limpid, &shouter, NULL));
	check(limpid, limpid_start(limpid));
	return limpid;
}

int main(int argc, char **argv)
{
	struct limpid *first, *second;
	sigset_t term;
	int sig;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	if (argc != 3)
		return 2;
	first = begin("first", argv[1], true);
	second = begin("second", argv[2], false);
	printf("both\n");
	sigwait(&term, &sig);
	limpid_drain(first);
	limpid_stop(second);
	limpid_run(second);
	limpid_free(second);
	printf("draining\n");
	limpid_run(first);
	limpid_free(first);
	first = begin("third", argv[1], false);
	printf("third\n");
	sigwait(&term, &sig);
	limpid_free(first);
	return 0;
}
