/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchanges CONFIG: an interceptor that says what it is shown, and does what the path of the
 * request says.
 */
#include <limpid/limpid.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct seen {
	char path[64];
	size_t bytes[2];
};

static int begin(struct limpid_flow *flow, void *conf, void **ret_state)
{
	struct seen *s = calloc(1, sizeof(*s));
	char server[LIMPID_ADDRESS_MAX];

	*ret_state = s;
	printf("open %s\n", limpid_flow_server(flow, server));
	return s ? 0 : -12;
}

static void finish(struct limpid_flow *flow, void *state)
{
	struct seen *s = state;

	printf("close %s %zu %zu\n", s->path, s->bytes[LIMPID_UP], s->bytes[LIMPID_DOWN]);
	free(s);
}

static bool path_is(const struct seen *s, const char *path)
{
	return !strcmp(s->path, path);
}

/* Capitals for small letters. */
static enum limpid_verdict shout(const uint8_t *bytes, size_t len, struct limpid_output *out)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = bytes[i] >= 'a' && bytes[i] <= 'z' ? bytes[i] - 32 : bytes[i];

		if (limpid_output_write(out, &c, 1) < 0)
			return LIMPID_END;
	}
	return LIMPID_REPLACE;
}

static enum limpid_verdict up(struct limpid_flow *flow, struct seen *s, const uint8_t *bytes,
			      size_t len, bool end, struct limpid_output *out)
{
	if (path_is(s, "/refuse"))
		return LIMPID_END;
	if (path_is(s, "/leave"))
		limpid_leave(flow);
	if (path_is(s, "/longer") && end) {
		limpid_output_write(out, bytes, len);
		limpid_output_write(out, "GET /another HTTP/1.1\r\n\r\n", 25);
		return LIMPID_REPLACE;
	}
	return path_is(s, "/hold") && !end ? LIMPID_HOLD : LIMPID_PASS;
}

static enum limpid_verdict down(struct seen *s, const uint8_t *bytes, size_t len, bool end,
				struct limpid_output *out)
{
	if (path_is(s, "/shout"))
		return shout(bytes, len, out);
	if (path_is(s, "/break"))
		return LIMPID_DROP;
	if (path_is(s, "/more") && end) {
		limpid_output_write(out, bytes, len);
		limpid_output_write(out, " and more", 9);
		return LIMPID_REPLACE;
	}
	return path_is(s, "/hold") && !end ? LIMPID_HOLD : LIMPID_PASS;
}

static enum limpid_verdict data(struct limpid_flow *flow, void *state,
				enum limpid_direction direction, const uint8_t *bytes, size_t len,
				bool end, struct limpid_output *out)
{
	struct seen *s = state;

	if (direction == LIMPID_UP && !s->bytes[LIMPID_UP])
		sscanf((const char *)bytes, "%*s %63s", s->path);
	s->bytes[direction] += len;
	if (end)
		printf("end %s %s\n", s->path, direction == LIMPID_UP ? "up" : "down");
	return direction == LIMPID_UP ? up(flow, s, bytes, len, end, out)
				      : down(s, bytes, len, end, out);
}

/* One that stands beside it, and leaves when an answer comes. */
static enum limpid_verdict glance(struct limpid_flow *flow, void *state,
				  enum limpid_direction direction, const uint8_t *bytes,
				  size_t len, bool end, struct limpid_output *out)
{
	if (direction == LIMPID_DOWN)
		limpid_leave(flow);
	return LIMPID_PASS;
}

static void *wait_for_term(void *limpid)
{
	sigset_t term;
	int sig;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigwait(&term, &sig);
	limpid_stop(limpid);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct limpid_interceptor watcher = { .size = sizeof(watcher),
						    .name = "watcher",
						    .open = begin,
						    .data = data,
						    .close = finish };
	const struct limpid_interceptor visitor = { .size = sizeof(visitor),
						    .name = "visitor",
						    .data = glance };
	struct limpid *limpid;
	pthread_t waiter;
	sigset_t term;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 2 || limpid_new(NULL, &limpid) < 0)
		return 2;
	if (limpid_configure_file(limpid, argv[1]) < 0 ||
	    limpid_add_interceptor(limpid, &visitor, NULL) < 0 ||
	    limpid_add_interceptor(limpid, &watcher, NULL) < 0 ||
	    pthread_create(&waiter, NULL, wait_for_term, limpid) || limpid_run(limpid) < 0) {
		fprintf(stderr, "exchanges: %s\n", limpid_error(limpid));
		return 1;
	}
	pthread_join(waiter, NULL);
	limpid_free(limpid);
	return 0;
}
