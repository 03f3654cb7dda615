/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/http1_basic.h"

static void test_values(void **state)
{
	static const struct {
		const char *value, *user, *password;
	} cases[] = {
		{ "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame" },
		{ "basic dGVzdDoxMjPCow==", "test", "123\xc2\xa3" }, /* RFC 7617 section 2.1 */
		{ "BASIC   Og==", "", "" },
		{ "Basic YTpiOmM=", "a", "b:c" },
		{ "Basic YWI6", "ab", "" },
		{ "Basic YWI6Pz8+Pz8/", "ab", "?\?>?\??" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[HTTP1_BASIC_CAP];
		struct span user, password;

		assert_int_equal(
			http1_basic_parse(span_str(cases[i].value), room, &user, &password), 0);
		assert_true(span_eq_str(user, cases[i].user));
		assert_true(span_eq_str(password, cases[i].password));
	}
}

static void test_malformed(void **state)
{
	static const char *const cases[] = {
		"",
		"Basic",
		"Basic ",
		"Digest QWxhZGRpbjpv",
		"Basic YWI",
		"Basic YWI6==",
		"Basic YW=6",
		"Basic YWI=YWI6",
		"Basic YWJj",
		"Basic YW I6",
		"Basic YWI6\t",
		"Basic ====",
		"Bearer Og==",
		"BasicxYWI6Og=",
		"Basic YWI6_-==",
	};
	uint8_t room[HTTP1_BASIC_CAP];
	struct span user, password;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(http1_basic_parse(span_str(cases[i]), room, &user, &password),
				 -EINVAL);
}

static void test_too_long(void **state)
{
	char value[6 + 4 * HTTP1_BASIC_CAP];
	uint8_t room[HTTP1_BASIC_CAP];
	struct span user, password;

	(void)state;
	memset(value, 'O', sizeof(value));
	memcpy(value, "Basic ", 6);
	assert_int_equal(http1_basic_parse(span_of(value, 6 + 4 * ((HTTP1_BASIC_CAP + 3) / 3)),
					   room, &user, &password),
			 -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
