/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/config.h"
#include "fuzz.h"

/* A file in memory that holds the input; its path goes to @path. */
static int file_of(const uint8_t *data, size_t size, char path[static 32])
{
	int fd = memfd_create("limpid.yaml", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* Each error is one printable line with its place. */
static void check_errors(const char *text, const char *path)
{
	while (*text) {
		const char *end = strchr(text, '\n');
		unsigned int line, column;

		REQUIRE(end && end > text);
		if (!strncmp(text, path, strlen(path))) {
			REQUIRE(sscanf(text + strlen(path), ":%u:%u: ", &line, &column) == 2);
			REQUIRE(line && column);
		}
		for (; text < end; text++)
			REQUIRE((uint8_t)*text >= ' ' && *text != 0x7f);
		text = end + 1;
	}
}

static void check_config(const struct config *c)
{
	struct facts f = { .network = NETWORK_TCP, .settled = true };
	struct decision d;

	REQUIRE(c->n_listeners);
	for (size_t i = 0; i < c->n_listeners; i++) {
		REQUIRE(c->listeners[i].name && c->listeners[i].n_addresses);
		REQUIRE(c->listeners[i].addresses[0].port);
		REQUIRE(!c->listeners[i].to.family == (c->listeners[i].mode != LISTENER_FIXED));
	}
	REQUIRE(c->limits.look_ahead_bytes >= 1024);
	policy_decide(c->policy, &f, &d);
	REQUIRE(d.final);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c = NULL;
	char *errors = NULL, path[32];
	size_t len = 0;
	FILE *to = open_memstream(&errors, &len);
	int fd = file_of(data, size, path);
	int r = config_load(path, to, &c);

	fclose(to);
	close(fd);
	REQUIRE(r == 0 || r == -EINVAL);
	REQUIRE((r == 0) == (len == 0) && (r == 0) == (c != NULL));
	check_errors(errors, path);
	if (c)
		check_config(c);
	config_free(c);
	free(errors);
	return 0;
}
