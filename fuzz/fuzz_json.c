/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/json.h"
#include "fuzz.h"

/*
 * The input is a program for the writer: a byte chooses what to write, the next ones are the
 * value.  What comes out is read by a small strict reader of RFC 8259.
 */
struct text {
	const uint8_t *at, *end;
};

static uint8_t next(struct text *t)
{
	REQUIRE(t->at < t->end);
	return *t->at++;
}

static unsigned hex(uint8_t c)
{
	REQUIRE((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Behind the quote.  Raw bytes are UTF-8 as far as lengths go. */
static void read_string(struct text *t)
{
	for (;;) {
		uint8_t c = next(t);
		int tails = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : 0;

		if (c == '"')
			return;
		REQUIRE(c >= ' ' && c != 0x7f && c <= 0xf4 && (c < 0x80 || c >= 0xc2));
		for (; tails; tails--)
			REQUIRE((next(t) & 0xc0) == 0x80);
		if (c != '\\')
			continue;
		c = next(t);
		if (c == 'u') {
			REQUIRE(next(t) == '0' && next(t) == '0');
			hex(next(t));
			hex(next(t));
		} else {
			REQUIRE(c && strchr("\"\\nrt", c));
		}
	}
}

static void read_object(struct text *t);

static void read_value(struct text *t)
{
	uint8_t c = next(t);

	if (c == '{') {
		read_object(t);
	} else if (c == '"') {
		read_string(t);
	} else if (c == 't' || c == 'f') {
		const char *rest = c == 't' ? "rue" : "alse";

		while (*rest)
			REQUIRE(next(t) == (uint8_t)*rest++);
	} else {
		REQUIRE(c >= '0' && c <= '9');
		while (*t->at >= '0' && *t->at <= '9')
			next(t);
	}
}

/* Behind the brace. */
static void read_object(struct text *t)
{
	uint8_t c = next(t);

	if (c == '}')
		return;
	for (;;) {
		REQUIRE(c == '"');
		read_string(t);
		REQUIRE(next(t) == ':');
		read_value(t);
		c = next(t);
		if (c == '}')
			return;
		REQUIRE(c == ',');
		c = next(t);
	}
}

static void write_all(struct json *j, struct span in)
{
	unsigned depth = 0;

	while (in.len) {
		uint8_t op = in.data[0];
		uint64_t number = 0;
		struct span value;

		in = span_skip(in, 1);
		value = span_head(in, op >> 3);
		if (value.len)
			memcpy(&number, value.data, value.len < 8 ? value.len : 8);
		in = span_skip(in, value.len);
		switch (op & 7) {
		case 0:
			json_open(j, "object");
			depth++;
			break;
		case 1:
			if (depth) {
				json_close(j);
				depth--;
			}
			break;
		case 2:
			json_u64(j, "number", number);
			break;
		case 3:
			json_bool(j, "bool", number & 1);
			break;
		case 4:
			json_time(j, "time", number % UINT64_C(250000000000000000));
			break;
		case 5:
		case 6:
		case 7:
			json_str(j, "string", value);
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cap = 64 * size + 64;
	char *whole = malloc(cap);
	struct json j;
	struct text t;
	ssize_t len;

	json_init(&j, whole, cap);
	write_all(&j, span_of(data, size));
	len = json_end(&j);
	REQUIRE(len > 0);
	t = (struct text){ (uint8_t *)whole, (uint8_t *)whole + len };
	REQUIRE(next(&t) == '{');
	read_object(&t);
	REQUIRE(t.at == t.end);
	/* One byte short is not enough, and nothing is written behind the end. */
	for (size_t less = 1; less <= (size_t)len; less += (size_t)len / 4 + 1) {
		char *small = malloc((size_t)len - less);

		json_init(&j, small, (size_t)len - less);
		write_all(&j, span_of(data, size));
		REQUIRE(json_end(&j) < 0);
		free(small);
	}
	free(whole);
	return 0;
}
