/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/mem.h"

/* RFC 3174 section 7.3, RFC 4648 section 10 */
static void test_crypto(void **state)
{
	static const struct {
		const char *in, *base64;
	} cases[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};
	static const uint8_t abc[] = { 0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
				       0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d };
	uint8_t digest[CRYPTO_SHA1_BYTES];

	assert_int_equal(crypto_sha1(span_str("abc"), digest), 0);
	assert_memory_equal(digest, abc, sizeof(abc));
	assert_int_equal(crypto_sha1(span_of(NULL, 0), digest), 0);
	assert_int_equal(digest[0], 0xda);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[16];

		crypto_base64(span_str(cases[i].in), text);
		assert_string_equal(text, cases[i].base64);
		assert_int_equal(strlen(text), CRYPTO_BASE64_LEN(strlen(cases[i].in)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crypto),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
