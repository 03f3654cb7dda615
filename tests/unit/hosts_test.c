/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "dial/hosts.h"

static const char text[] = "# 10.0.0.9 comment.test\n"
			   "\n"
			   "127.0.0.1\tlocalhost\n"
			   "::1 localhost ip6-localhost\n"
			   "  10.0.0.1   One.test alias.\t# other.test\r\n"
			   "10.0.0.2 one.test\n"
			   "fd00::1 one.test\n"
			   "10.0.0.3\n"
			   "10.0.0 bad.test\n"
			   "nonsense one.test\n"
			   "10.0.0.4 last.test"; /* without an end of line */

static char path[] = "/tmp/limpid-hosts-XXXXXX";

static int write_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static void expect(const char *name, uint8_t family, int n, const char *first)
{
	struct addr list[2] = { 0 };
	char got[ADDR_TEXT_MAX];

	assert_int_equal(hosts_find(path, name, family, list, 2), n);
	if (first)
		assert_string_equal(addr_format_ip(&list[0], got), first);
}

static void test_find(void **state)
{
	struct addr one;

	(void)state;
	expect("localhost", 4, 1, "127.0.0.1");
	expect("localhost", 6, 1, "::1");
	expect("one.test", 4, 2, "10.0.0.1");
	expect("one.test", 6, 1, "fd00::1");
	expect("alias", 4, 1, "10.0.0.1");
	expect("alias", 6, 0, NULL); /* known, but not in this family */
	expect("last.test", 4, 1, "10.0.0.4");
	expect("other.test", 4, -ENOENT, NULL);
	expect("comment.test", 4, -ENOENT, NULL);
	expect("bad.test", 4, -ENOENT, NULL);
	expect("one", 4, -ENOENT, NULL);
	assert_int_equal(hosts_find(path, "one.test", 4, &one, 1), 1); /* no more than room */
	assert_int_equal(hosts_find("/nowhere", "one.test", 4, &one, 1), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, write_file, remove_file);
}
