/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation of a piece of work fails once, the first, the second, and so on until there are
 * no more.  The linker puts the functions below in the place of the C library's (--wrap), for the
 * program's own calls; what libraries allocate is left to tests/lab/fault.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/nameset.h"
#include "base/netset.h"
#include "base/pool.h"
#include "core/datagram_table.h"
#include "engine/config.h"
#include "sys/pipe.h"

#include "double.h"

/* The @due-th call from now fails; 0: none.  One thread. */
static struct {
	unsigned long due, seen;
	bool pipes_refused;
} fault;

static bool fails(void)
{
	if (++fault.seen != fault.due)
		return false;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, offset);
}

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list args;
	long arg;

	va_start(args, cmd);
	arg = va_arg(args, long);
	va_end(args);
	if (cmd == F_SETPIPE_SZ && fault.pipes_refused) {
		errno = EPERM;
		return -1;
	}
	return __real_fcntl64(fd, cmd, arg);
}

/* @work gets through, or says -ENOMEM and has left nothing behind (the sanitizer looks). */
static void each_fails(int (*work)(void))
{
	unsigned long total;

	fault.due = fault.seen = 0;
	assert_int_equal(work(), 0);
	total = fault.seen;
	assert_true(total > 0);
	for (unsigned long n = 1; n <= total; n++) {
		int r;

		fault.due = n;
		fault.seen = 0;
		r = work();
		fault.due = 0;
		if (r != 0 && r != -ENOMEM)
			fail_msg("allocation %lu of %lu: %d", n, total, r);
	}
}

/* ---- base ---- */

static int work_buf(void)
{
	struct buf b = { 0 };
	uint8_t bytes[3000] = { 1 };
	int r = 0;

	for (int i = 0; i < 20 && !r; i++) {
		size_t before = b.len;

		r = buf_append(&b, span_of(bytes, sizeof(bytes)), SIZE_MAX);
		assert_int_equal(b.len, before + (r ? 0 : sizeof(bytes)));
	}
	buf_done(&b);
	return r;
}

static void test_buf(void **state)
{
	(void)state;
	each_fails(work_buf);
}

/* It only needs memory to be quick: once there is a table, all goes in and comes out. */
static int work_map(void)
{
	struct map_node nodes[300] = { 0 };
	struct map m;
	size_t n = 0;
	int r = 0;

	map_init(&m, 7);
	for (; n < ARRAY_SIZE(nodes) && !r; n++)
		r = map_add(&m, &nodes[n], n * 0x9e3779b97f4a7c15);
	n -= r < 0;
	for (size_t i = 0; i < n; i++)
		assert_ptr_equal(map_first(&m, nodes[i].hash), &nodes[i]);
	for (size_t i = 0; i < n; i++)
		map_del(&m, &nodes[i]);
	assert_null(map_any(&m));
	map_done(&m);
	return r;
}

static void test_map(void **state)
{
	(void)state;
	each_fails(work_map);
}

static int work_pool(void)
{
	void *objects[400];
	struct pool p;
	size_t n = 0;

	pool_init(&p, 500);
	while (n < ARRAY_SIZE(objects) && (objects[n] = pool_get(&p)))
		n++;
	for (size_t i = 0; i < n; i++)
		pool_put(&p, objects[i]);
	pool_done(&p);
	return n < ARRAY_SIZE(objects) ? -ENOMEM : 0;
}

/* Of mmap(2); under AddressSanitizer each object is an allocation. */
static void test_pool(void **state)
{
	(void)state;
	each_fails(work_pool);
}

static int work_sets(void)
{
	struct nameset *names = nameset_new(), *more = nameset_new();
	struct netset *nets = netset_new();
	int r = names && more && nets ? 0 : -ENOMEM;

	for (int i = 0; i < 60 && !r; i++) {
		char text[32];

		snprintf(text, sizeof(text), "name-%d.test", i);
		r = nameset_add(names, text);
		if (!r)
			assert_true(nameset_contains(names, text));
		snprintf(text, sizeof(text), "10.%d.0.0/16", 2 * i);
		if (!r)
			r = netset_add(nets, text);
	}
	if (!r)
		r = nameset_merge(more, names);
	nameset_free(names);
	nameset_free(more);
	netset_free(nets);
	return r;
}

static void test_sets(void **state)
{
	(void)state;
	each_fails(work_sets);
}

/* ---- core ---- */

static int work_table(void)
{
	struct datagram_limits limits = { .sessions = 100,
					  .sessions_per_client = 50,
					  .entries_per_session = 50 };
	struct datagram_session *sessions[20];
	struct datagram_entry *entries[20];
	struct datagram_table t;
	struct addr a, to;
	size_t n = 0;
	int r = 0;

	assert_int_equal(addr_parse("192.0.2.1:1000", &a), 0);
	assert_int_equal(addr_parse("192.0.2.2:53", &to), 0);
	datagram_table_init(&t, &limits);
	while (n < ARRAY_SIZE(sessions) && !r) {
		a.port++;
		a.ip[3] = (uint8_t)(n / 4);
		r = datagram_session_new(&t, &a, NULL, &sessions[n]);
		if (!r) {
			r = datagram_entry_new(&t, sessions[n], &to, &entries[n]);
			if (r < 0)
				datagram_session_free(&t, sessions[n]);
		}
		n += !r;
	}
	while (n--) {
		datagram_entry_free(&t, entries[n]);
		datagram_session_free(&t, sessions[n]);
	}
	datagram_table_done(&t);
	return r;
}

static void test_datagram_table(void **state)
{
	(void)state;
	each_fails(work_table);
}

/* Memory for what the receiver does not take: without it the lane ends, and writes no byte out of
 * order (the double looks). */
static int work_lane(void)
{
	static uint8_t buffer[64 << 10];
	struct lane_tools tools = { .buffer = buffer, .buffer_bytes = sizeof(buffer) };
	enum lane_result result = LANE_WAITS;
	struct double_end from, to;
	struct lane l;
	int error = 0;

	double_init(&from, 3);
	double_init(&to, 4);
	lane_init(&l, &from.end, &to.end);
	l.offload = OFFLOAD_COPY; /* the double allocates, too, when it is spliced */
	from.lane = &l;
	from.n_gives = 1u << 20;
	pipe_pool_init(&tools.pipes, 2);
	while (result == LANE_WAITS || result == LANE_BUSY) {
		double_event(&from);
		double_event(&to);
		result = lane_pump(&l, &tools, 1u << 16, &error);
	}
	if (result == LANE_ENDED)
		assert_int_equal(to.n_taken, 1u << 20);
	lane_done(&l, &tools);
	pipe_pool_done(&tools.pipes);
	double_done(&from);
	double_done(&to);
	return result == LANE_ENDED ? 0 : result == LANE_NO_MEMORY ? -ENOMEM : -EIO;
}

static void test_lane(void **state)
{
	(void)state;
	each_fails(work_lane);
}

/* What the kernel refuses now it may grant later; until then it is not asked for each read. */
static void test_pipes_are_asked_for_again(void **state)
{
	struct pipe_pool p;
	struct pipe *pipe = NULL;
	unsigned int n = 0;

	(void)state;
	pipe_pool_init(&p, 2);
	fault.pipes_refused = true;
	assert_null(pipe_get(&p));
	fault.pipes_refused = false;
	while (!pipe && n < 100000) {
		pipe = pipe_get(&p);
		n++;
	}
	assert_non_null(pipe);
	assert_true(n > 100);
	pipe_put(&p, pipe);
	pipe_pool_done(&p);
}

/* ---- configuration ---- */

static const char text[] =
	"listeners: [ { name: a, mode: tproxy, address: [\"127.0.0.1:1\", \"[::1]:1\"] } ]\n"
	"sets: { lan: [10.0.0.0/8, \"fd00::/8\"], names: [a.test, .b.test] }\n"
	"rules:\n"
	"  - { name: r, match: { source: $lan, port: [80, \"90-99\"] }, action: accept }\n"
	"  - { name: s, match: { domain: $names, not: { port: 22 } }, action: deny }\n"
	"record: { flows: { file: flows.json } }\n";

static char path[64];

static int work_config(void)
{
	static char said[4096];
	FILE *errors = fmemopen(said, sizeof(said), "w");
	struct config *c = NULL;
	int r;

	assert_non_null(errors);
	said[0] = '\0';
	r = config_load(path, errors, &c);
	fclose(errors);
	if (r < 0) {
		assert_non_null(strstr(said, "memory"));
		return r;
	}
	assert_int_equal(c->n_listeners, 1);
	assert_int_equal(c->policy->n_rules, 2);
	assert_true(c->policy->n_netsets >= 1 && c->policy->n_namesets >= 1);
	config_free(c);
	return 0;
}

static void test_config(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/limpid-alloc-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	each_fails(work_config);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_datagram_table),
		cmocka_unit_test(test_lane),
		cmocka_unit_test(test_pipes_are_asked_for_again),
		cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
