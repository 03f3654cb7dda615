/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/http1_basic.h"
#include "fuzz.h"
#include "http1_body_split.h"

static void check_chunks(struct span in)
{
	struct body_split_ret ret;

	in = span_head(in, 4096);
	if (split_check(&body_split, in, in.len / 16 + 1, &ret) != CODEC_DONE)
		return;
	REQUIRE(ret.used <= in.len && ret.n_content < ret.used);
	REQUIRE(ret.n_trailers >= 2 && !memcmp(ret.trailers + ret.n_trailers - 2, "\r\n", 2));
}

static void check_answer(struct span in)
{
	struct http1_response ret;
	struct http1_summary s;
	struct http1_body body;

	if (split_check(&response_split, in, in.len / 16 + 1, &ret) != CODEC_DONE)
		return;
	REQUIRE(ret.head_bytes <= in.len && ret.status >= 100 && ret.status <= 999);
	if (http1_summary_read(ret.fields, ret.n_fields, &s) < 0)
		return;
	for (size_t i = 0; i < ret.n_fields; i++)
		if (http1_goes_on(&s, ret.fields, ret.n_fields, i))
			REQUIRE(!http1_field_is(&ret.fields[i], "transfer-encoding") &&
				!http1_field_is(&ret.fields[i], "content-length"));
	if (http1_response_body(&s, ret.minor, ret.status, false, &body) == 0)
		REQUIRE(body.framing != HTTP1_CHUNKED || !s.n[HTTP1_CONTENT_LENGTH]);
}

static void check_basic(struct span in)
{
	uint8_t room[HTTP1_BASIC_CAP];
	struct span user, password;

	if (http1_basic_parse(in, room, &user, &password) == 0)
		REQUIRE(user.len + password.len < HTTP1_BASIC_CAP &&
			!(user.len && memchr(user.data, ':', user.len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_skip(span_of(data, size), 1);

	if (!size)
		return 0;
	if (data[0] == 'c')
		check_chunks(in);
	else if (data[0] == 'r')
		check_answer(in);
	else
		check_basic(in);
	return 0;
}
