/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random gets and puts against the plain list of what is out.  (Under AddressSanitizer each
 * object is a heap allocation: the slabs are then not what is tested.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/pool.h"

#define N_OUT 3000

static size_t mapped_pages(void)
{
	size_t size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%zu %zu", &size, &resident), 2);
	fclose(f);
	return size;
}

/* Sanitizers map what they like. */
static bool has_shadow(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
	return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
	return false;
#endif
}

static void assert_filled(const uint8_t *p, uint8_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], value);
}

/* Every byte of an object is its holder's until it is put back. */
static void random_walk(size_t object_bytes, unsigned int seed)
{
	static uint8_t *out[N_OUT];
	unsigned int n = 0, steps = object_bytes > 8192 ? 600 : 6000;
	unsigned int most = object_bytes > 8192 ? 200 : N_OUT;
	struct pool p;

	srand(seed);
	pool_init(&p, object_bytes);
	for (unsigned int step = 0; step < steps; step++) {
		bool grow = (step / 1000 + seed) % 2 ? rand() % 4 : !(rand() % 4);

		if (grow && n < most) {
			out[n] = pool_get(&p);
			assert_non_null(out[n]);
			assert_int_equal((uintptr_t)out[n] % 16, 0);
			assert_filled(out[n], 0, object_bytes);
			memset(out[n], (int)(1 + n % 251), object_bytes);
			n++;
		} else if (n) {
			unsigned int i = (unsigned int)rand() % n, last = n - 1;

			assert_filled(out[i], (uint8_t)(1 + i % 251), object_bytes);
			pool_put(&p, out[i]);
			out[i] = out[last];
			n = last;
			if (i != last) /* it has the number of its new place */
				memset(out[i], (int)(1 + i % 251), object_bytes);
		}
	}
	while (n)
		pool_put(&p, out[--n]);
	pool_done(&p);
}

static void test_random_walks(void **state)
{
	static const size_t sizes[] = { 1, 8, 16, 24, 48, 1000, 1024, 4096, 20000, 40000, 65000 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		for (unsigned int seed = 0; seed < 3; seed++)
			random_walk(sizes[i], seed);
}

static void test_memory_goes_back(void **state)
{
	static void *out[20000];
	size_t before, during;
	struct pool p;

	(void)state;
	pool_init(&p, 1000);
	out[0] = pool_get(&p);
	before = mapped_pages();
	for (unsigned int i = 1; i < ARRAY_SIZE(out); i++)
		out[i] = pool_get(&p);
	during = mapped_pages();
	for (unsigned int i = 1; i < ARRAY_SIZE(out); i += 2) /* holes first, then the rest */
		pool_put(&p, out[i]);
	for (unsigned int i = 2; i < ARRAY_SIZE(out); i += 2)
		pool_put(&p, out[i]);
	if (!has_shadow()) {
		assert_true(during >= before + 19000 * 1000 / (size_t)getpagesize());
		assert_true(mapped_pages() <= before + 64); /* one slab may stay */
	}
	pool_put(&p, out[0]);
	pool_done(&p);
}

/* One object comes and goes: no system call each time, and nothing is lost at the border. */
static void test_border_of_slabs(void **state)
{
	struct pool p;
	void *out[200];

	(void)state;
	for (unsigned int n = 1; n < ARRAY_SIZE(out); n++) {
		pool_init(&p, 1024);
		for (unsigned int i = 0; i < n; i++)
			assert_non_null(out[i] = pool_get(&p));
		for (unsigned int k = 0; k < 4; k++) {
			pool_put(&p, out[n - 1]);
			assert_non_null(out[n - 1] = pool_get(&p));
		}
		for (unsigned int i = 0; i < n; i++)
			pool_put(&p, out[i]);
		pool_done(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_walks),
		cmocka_unit_test(test_memory_goes_back),
		cmocka_unit_test(test_border_of_slabs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
