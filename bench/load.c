/* SPDX-License-Identifier: Apache-2.0 */
/* load server|client …: what both need, and the figures they read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define PAYLOAD_BYTES (4 << 20)

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

int app_parse(const char *name, enum app *ret_app)
{
	static const char *const names[] = {
		[APP_ECHO] = "echo", [APP_HELLO] = "hello", [APP_DOWN] = "down",
		[APP_UP] = "up",     [APP_BOTH] = "both",   [APP_HTTP] = "http",
		[APP_UDP] = "udp",   [APP_TRAIN] = "train", [APP_SINK] = "sink",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret_app = (enum app)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool app_is_datagram(enum app app)
{
	return app == APP_UDP || app == APP_TRAIN || app == APP_SINK;
}

/* Memory to send from: a file without a disk, written once so that its pages exist. */
int payload_open(void)
{
	char block[65536];
	int fd = memfd_create("payload", MFD_CLOEXEC);

	if (fd < 0)
		die("memfd_create");
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 31 + (i >> 8));
	for (size_t done = 0; done < PAYLOAD_BYTES; done += sizeof(block)) {
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			die("payload");
	}
	return fd;
}

/* Returns what was sent, at most the budget; 0 when the socket is full; -errno when it is dead. */
ssize_t bulk_send(int fd, int payload, off_t *at)
{
	ssize_t sum = 0;

	while (sum < BUDGET_BYTES) {
		ssize_t n;

		if (*at >= PAYLOAD_BYTES)
			*at = 0;
		n = sendfile(fd, payload, at, (size_t)(PAYLOAD_BYTES - *at));
		if (n < 0)
			return errno == EAGAIN ? sum : -errno;
		sum += n;
	}
	return sum;
}

/* Returns what was thrown away; 0 when there is nothing now; -EPIPE at the end of the stream. */
ssize_t bulk_discard(int fd)
{
	ssize_t sum = 0;

	while (sum < BUDGET_BYTES) {
		ssize_t n = recv(fd, NULL, BUDGET_BYTES, MSG_TRUNC | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN ? sum : -errno;
		if (n == 0)
			return sum > 0 ? sum : -EPIPE;
		sum += n;
	}
	return sum;
}

static size_t hist_index(uint64_t ns)
{
	unsigned int top;

	if (ns < HIST_SUB)
		return (size_t)ns;
	top = 63 - (unsigned int)__builtin_clzll(ns);
	return (size_t)(top - 5) * HIST_SUB + (size_t)((ns >> (top - 6)) - HIST_SUB);
}

static uint64_t hist_value(size_t index)
{
	unsigned int top = (unsigned int)(index / HIST_SUB) + 5;

	if (index < HIST_SUB)
		return index;
	return (uint64_t)(index % HIST_SUB + HIST_SUB) << (top - 6);
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->count[hist_index(ns)]++;
	h->total++;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof(*h));
}

double hist_us(const struct hist *h, double share)
{
	uint64_t want = (uint64_t)((double)h->total * share), sum = 0;

	for (size_t i = 0; i < sizeof(h->count) / sizeof(*h->count); i++) {
		sum += h->count[i];
		if (h->count[i] > 0 && sum > want)
			return (double)hist_value(i) / 1000;
	}
	return (double)h->max_ns / 1000;
}

/* Either a cgroup's cpu.stat (usage_usec N), or a task's schedstat (nanoseconds first). */
static uint64_t cpu_file(const char *path)
{
	char text[256];
	unsigned long long v = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		die(path);
	if (!fgets(text, sizeof(text), f))
		die(path);
	fclose(f);
	if (sscanf(text, "usage_usec %llu", &v) == 1)
		return v;
	if (sscanf(text, "%llu", &v) != 1)
		die(path);
	return v / 1000;
}

void cpu_read(struct cpu *cpu, char *const *path, size_t count)
{
	unsigned long long v[8] = { 0 };
	FILE *f = fopen("/proc/stat", "re");
	uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);

	if (!f || fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
			 &v[3], &v[4], &v[5], &v[6], &v[7]) != 8)
		die("/proc/stat");
	fclose(f);
	cpu->at_ns = now_ns();
	cpu->busy_us = (v[0] + v[1] + v[2] + v[5] + v[6]) * tick_us; /* not idle, iowait, steal */
	for (size_t i = 0; i < count; i++)
		cpu->used_us[i] = cpu_file(path[i]);
}

int main(int argc, char **argv)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (argc >= 2 && strcmp(argv[1], "server") == 0)
		return load_server(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "client") == 0)
		return load_client(argc - 1, argv + 1);
	fprintf(stderr, "usage: load server APP:FIRST-LAST… | load client --help\n");
	return 2;
}
