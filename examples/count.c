/* SPDX-License-Identifier: Apache-2.0 */
/* count [-copy] CONFIG: intercept as CONFIG says, limpid.yaml(5), and print how many bytes each
 * flow carried.  With -copy every byte goes on as a copy. */
#include <limpid/limpid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct limpid *limpid;
static bool copy;

static int count_open(struct limpid_flow *flow, void *conf, void **ret_state)
{
	*ret_state = calloc(2, sizeof(size_t)); /* one for each direction */
	return *ret_state ? 0 : -1;
}

static enum limpid_verdict count_data(struct limpid_flow *flow, void *state,
				      enum limpid_direction direction, const uint8_t *bytes,
				      size_t len, bool end, struct limpid_output *out)
{
	((size_t *)state)[direction] += len;
	if (copy)
		limpid_output_write(out, bytes, len); /* should it fail, the flow ends */
	return copy ? LIMPID_REPLACE : LIMPID_PASS;
}

static void count_close(struct limpid_flow *flow, void *state)
{
	char client[LIMPID_ADDRESS_MAX], server[LIMPID_ADDRESS_MAX];

	printf("%s => %s: %zu up, %zu down, %s\n", limpid_flow_client(flow, client),
	       limpid_flow_server(flow, server), ((size_t *)state)[LIMPID_UP],
	       ((size_t *)state)[LIMPID_DOWN], limpid_flow_why(flow));
	free(state);
}

static void on_signal(int signal)
{
	limpid_stop(limpid);
}

int main(int argc, char **argv)
{
	static const struct limpid_interceptor count = { sizeof(count), "count", count_open,
							 count_data, count_close };

	copy = argc == 3 && !strcmp(argv[1], "-copy");
	if (argc != 2 + copy || limpid_new(NULL, &limpid) || setvbuf(stdout, NULL, _IOLBF, 0))
		return 2;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (!limpid_configure_file(limpid, argv[argc - 1]) &&
	    !limpid_add_interceptor(limpid, &count, NULL) && !limpid_run(limpid))
		return limpid_free(limpid), 0;
	fprintf(stderr, "count: %s\n", limpid_error(limpid));
	return 1;
}
