/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Two passes.  hello_walk() goes once over the record layer, remembering its place, and looks
 * at no more of the message than its header: every byte is visited once however the input
 * is cut, and each error belongs to the byte that shows it.  When the message is complete,
 * hello_read() reads it in one go, from the input itself when one record holds all of it, else
 * from a joined copy that lives for this call only.  In the reader every length is taken
 * through struct reader, which cannot go past its end.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hostname.h"
#include "codec/tls_hello.h"

#define RECORD_HEADER_BYTES 5
#define RECORD_MAX_BYTES (1 << 14)
#define CONTENT_HANDSHAKE 22
#define HANDSHAKE_CLIENT_HELLO 1
#define RANDOM_BYTES 32
#define SESSION_ID_MAX_BYTES 32
#define NAME_TYPE_HOST 0
/* As many as clients send, and some more. */
#define FEW_EXTENSIONS 32

enum {
	EXT_SERVER_NAME = 0,
	EXT_ALPN = 16,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_ECH = 0xfe0d,
};

/* What is left to read; @bad once something was asked for that was not there. */
struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static const uint8_t *read_bytes(struct reader *r, size_t n)
{
	const uint8_t *p = r->at;

	if (r->bad || n > r->left) {
		r->bad = true;
		return NULL;
	}
	r->at += n;
	r->left -= n;
	return p;
}

static unsigned read_u8(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 1);

	return p ? p[0] : 0;
}

static unsigned read_u16(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 2);

	return p ? (unsigned)p[0] << 8 | p[1] : 0;
}

/* A vector whose length is between @min and @max. */
static struct reader read_vector(struct reader *r, size_t len, size_t min, size_t max)
{
	const uint8_t *p;

	if (len < min || len > max)
		r->bad = true;
	p = read_bytes(r, len);
	return (struct reader){ .at = p, .left = p ? len : 0, .bad = !p };
}

static bool reader_ended(const struct reader *r)
{
	return !r->bad && !r->left;
}

/* struct ServerNameList; RFC 6066: no two names of one type. */
static bool read_server_name(struct reader *ext, struct tls_hello *ret)
{
	struct reader list = read_vector(ext, read_u16(ext), 1, UINT16_MAX);
	bool seen = false;

	if (list.bad || !reader_ended(ext))
		return false;
	while (list.left) {
		unsigned type = read_u8(&list);
		struct reader name = read_vector(&list, read_u16(&list), 1, UINT16_MAX);
		struct span text = span_of(name.at, name.left);

		if (name.bad)
			return false;
		if (type != NAME_TYPE_HOST)
			continue;
		if (seen)
			return false;
		seen = true;
		if (hostname_is_ip(text))
			continue;
		if (hostname_parse(text, ret->sni) < 0)
			return false;
	}
	return true;
}

/* Append one protocol name to ret->alpn, or leave it when there is no room. */
static void alpn_append(struct tls_hello *ret, const uint8_t *name, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	char text[1 + 4 * UINT8_MAX];
	size_t used = strlen(ret->alpn), n = 0;

	if (used)
		text[n++] = ',';
	for (size_t i = 0; i < len; i++) {
		uint8_t c = name[i];

		if (c > 0x20 && c < 0x7f && c != ',' && c != '\\') {
			text[n++] = (char)c;
			continue;
		}
		text[n++] = '\\';
		text[n++] = 'x';
		text[n++] = hex[c >> 4];
		text[n++] = hex[c & 15];
	}
	if (used + n >= sizeof(ret->alpn))
		return;
	memcpy(ret->alpn + used, text, n);
	ret->alpn[used + n] = '\0';
}

/* struct ProtocolNameList */
static bool read_alpn(struct reader *ext, struct tls_hello *ret)
{
	struct reader list = read_vector(ext, read_u16(ext), 2, UINT16_MAX);

	if (list.bad || !reader_ended(ext))
		return false;
	while (list.left) {
		struct reader name = read_vector(&list, read_u8(&list), 1, UINT8_MAX);

		if (name.bad)
			return false;
		alpn_append(ret, name.at, name.left);
	}
	return true;
}

/* GREASE (0x?a?a) and all else that is not 3.x is nothing we know, and ignored. */
static bool read_supported_versions(struct reader *ext, struct tls_hello *ret)
{
	struct reader list = read_vector(ext, read_u8(ext), 2, 254);
	unsigned highest = 0;

	if (list.bad || !reader_ended(ext) || list.left % 2)
		return false;
	while (list.left) {
		unsigned version = read_u16(&list);

		if (version >> 8 == 3 && version > highest)
			highest = version;
	}
	if (highest)
		ret->version = (uint16_t)highest;
	return true;
}

static bool read_extension(unsigned type, struct reader *ext, struct tls_hello *ret)
{
	switch (type) {
	case EXT_SERVER_NAME:
		return read_server_name(ext, ret);
	case EXT_ALPN:
		return read_alpn(ext, ret);
	case EXT_SUPPORTED_VERSIONS:
		return read_supported_versions(ext, ret);
	case EXT_ECH:
		ret->ech = true;
		return true;
	}
	return true;
}

/* Is a type there twice?  For lists that are longer than any that is meant. */
static __attribute__((noinline)) bool repeats_in_many(struct reader list)
{
	uint8_t seen[(UINT16_MAX + 1) / 8] = { 0 };

	while (list.left) {
		unsigned type = read_u16(&list);

		read_vector(&list, read_u16(&list), 0, UINT16_MAX);
		if (list.bad || seen[type / 8] & 1 << type % 8)
			return true;
		seen[type / 8] |= (uint8_t)(1 << type % 8);
	}
	return false;
}

/* @all: the list that @type, of which @n came before, is in.  Note it in @seen. */
static bool repeats(struct reader all, unsigned type, uint16_t seen[FEW_EXTENSIONS], unsigned n)
{
	if (n > FEW_EXTENSIONS)
		return false; /* has been looked at */
	if (n == FEW_EXTENSIONS)
		return repeats_in_many(all);
	for (unsigned i = 0; i < n; i++)
		if (seen[i] == type)
			return true;
	seen[n] = (uint16_t)type;
	return false;
}

static bool read_extensions(struct reader *r, struct tls_hello *ret)
{
	struct reader all = read_vector(r, read_u16(r), 0, UINT16_MAX), list = all;
	uint16_t seen[FEW_EXTENSIONS];

	if (all.bad || !reader_ended(r))
		return false;
	while (list.left) {
		unsigned type = read_u16(&list);
		struct reader ext = read_vector(&list, read_u16(&list), 0, UINT16_MAX);

		if (ext.bad || repeats(all, type, seen, ret->n_extensions))
			return false;
		ret->n_extensions++;
		if (!read_extension(type, &ext, ret))
			return false;
	}
	return true;
}

/* struct ClientHello, without the header of the message. */
static bool hello_read(struct span body, struct tls_hello *ret)
{
	struct reader r = { .at = body.data, .left = body.len };
	struct reader ciphers, compressions;

	ret->legacy_version = (uint16_t)read_u16(&r);
	ret->version = ret->legacy_version;
	read_bytes(&r, RANDOM_BYTES);
	read_vector(&r, read_u8(&r), 0, SESSION_ID_MAX_BYTES);
	ciphers = read_vector(&r, read_u16(&r), 2, UINT16_MAX - 1);
	compressions = read_vector(&r, read_u8(&r), 1, UINT8_MAX);
	if (r.bad || ciphers.bad || compressions.bad)
		return false;
	if (ret->legacy_version >> 8 != 3 || ciphers.left % 2)
		return false;
	ret->n_ciphers = (uint16_t)(ciphers.left / 2);
	/* Before TLS 1.3 a hello may end here. */
	return reader_ended(&r) || read_extensions(&r, ret);
}

/* The header of a record at scan->at.  DONE: it is complete, in order and consumed. */
static enum codec_result record_open(struct tls_hello_scan *scan, struct span in)
{
	struct span s = span_skip(in, scan->at);
	enum codec_result mismatch = scan->records ? CODEC_BAD : CODEC_OTHER;
	size_t len;

	if (s.len > 0 && s.data[0] != CONTENT_HANDSHAKE)
		return mismatch;
	if (s.len > 1 && s.data[1] != 3)
		return mismatch;
	if (s.len < RECORD_HEADER_BYTES)
		return CODEC_MORE;
	len = (size_t)s.data[3] << 8 | s.data[4];
	if (!len || len > RECORD_MAX_BYTES)
		return CODEC_BAD;
	scan->at += RECORD_HEADER_BYTES;
	scan->record_left = len;
	scan->records++;
	return CODEC_DONE;
}

/* Byte by byte through the header of the message.  DONE: it is complete. */
static enum codec_result message_open(struct tls_hello_scan *scan, struct span in)
{
	while (scan->have < sizeof(scan->head)) {
		if (!scan->record_left || scan->at == in.len)
			return CODEC_MORE;
		scan->head[scan->have++] = in.data[scan->at++];
		scan->record_left--;
		if (scan->head[0] != HANDSHAKE_CLIENT_HELLO)
			return CODEC_OTHER;
	}
	scan->total = sizeof(scan->head) +
		      ((size_t)scan->head[1] << 16 | (size_t)scan->head[2] << 8 | scan->head[3]);
	return scan->total > TLS_HELLO_MAX_BYTES ? CODEC_BAD : CODEC_DONE;
}

/* DONE: the whole message is in @in and ends at scan->at, with its record. */
static enum codec_result hello_walk(struct tls_hello_scan *scan, struct span in)
{
	enum codec_result r;
	size_t n;

	while (!scan->total || scan->have < scan->total) {
		if (!scan->record_left) {
			r = record_open(scan, in);
			if (r != CODEC_DONE)
				return r;
		}
		if (!scan->total) {
			r = message_open(scan, in);
			if (r == CODEC_MORE && !scan->record_left)
				continue;
			if (r != CODEC_DONE)
				return r;
		}
		/* A ClientHello is alone in its records: nothing may follow before an answer. */
		if (scan->have + scan->record_left > scan->total)
			return CODEC_BAD;
		n = in.len - scan->at;
		if (n > scan->record_left)
			n = scan->record_left;
		scan->at += n;
		scan->have += n;
		scan->record_left -= n;
		if (scan->record_left)
			return CODEC_MORE;
	}
	return CODEC_DONE;
}

/* The payloads of all records up to @scan, which have been checked, one behind the other. */
static uint8_t *hello_join(const struct tls_hello_scan *scan, struct span in)
{
	uint8_t *joined = malloc(scan->total);
	size_t have = 0;

	if (!joined)
		return NULL;
	for (size_t at = 0; at < scan->at;) {
		size_t len = (size_t)in.data[at + 3] << 8 | in.data[at + 4];

		memcpy(joined + have, in.data + at + RECORD_HEADER_BYTES, len);
		have += len;
		at += RECORD_HEADER_BYTES + len;
	}
	return joined;
}

enum codec_result tls_hello_parse(struct tls_hello_scan *scan, struct span in,
				  struct tls_hello *ret)
{
	_cleanup_free_ uint8_t *joined = NULL;
	struct tls_hello hello = { 0 };
	const uint8_t *message;
	enum codec_result r = hello_walk(scan, in);

	if (r != CODEC_DONE)
		return r;
	message = in.data + RECORD_HEADER_BYTES;
	if (scan->records > 1) {
		joined = hello_join(scan, in);
		if (!joined)
			return CODEC_BAD;
		message = joined;
	}
	if (!hello_read(span_of(message + sizeof(scan->head), scan->total - sizeof(scan->head)),
			&hello))
		return CODEC_BAD;
	hello.wire_bytes = scan->at;
	hello.message_bytes = scan->total;
	hello.records = scan->records;
	*ret = hello;
	return CODEC_DONE;
}
