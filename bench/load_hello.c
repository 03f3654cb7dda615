/* SPDX-License-Identifier: Apache-2.0 */
/* A ClientHello as browsers and OpenSSL send it, with a name; RFC 8446 section 4.1.2. */
#include <string.h>

#include "load.h"

/* From the list of cipher suites up to the extensions. */
static const uint8_t suites[] = {
	0, 8, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2f, /* 4 suites */
	1, 0,						      /* no compression */
};
/* Extensions after the name: groups, signatures, ALPN h2 and http/1.1, versions 1.3 and 1.2. */
static const uint8_t extensions[] = {
	0, 10, 0, 6, 0, 4, 0, 0x1d, 0, 0x17,
	0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1,
	0, 16, 0, 14, 0, 12, 2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1',
	0, 43, 0, 5, 4, 3, 4, 3, 3,
};

static uint8_t *put16(uint8_t *p, size_t value)
{
	*p++ = (uint8_t)(value >> 8);
	*p++ = (uint8_t)value;
	return p;
}

static uint8_t *put(uint8_t *p, const void *from, size_t bytes)
{
	memcpy(p, from, bytes);
	return p + bytes;
}

/* Fills HELLO_BYTES; the name has at most 200. */
void hello_make(uint8_t *dst, const char *name)
{
	uint8_t *p = dst, *end = dst + HELLO_BYTES, *length;
	size_t n = strlen(name);

	memset(dst, 0, HELLO_BYTES);
	p = put(p, (uint8_t[]){ 22, 3, 1 }, 3);	/* a record of type handshake */
	p = put16(p, HELLO_BYTES - 5);
	p = put(p, (uint8_t[]){ 1, 0 }, 2);	/* a ClientHello and the first byte of its length */
	p = put16(p, HELLO_BYTES - 9);
	p = put(p, (uint8_t[]){ 3, 3 }, 2);
	p += 32;				/* random */
	*p++ = 32;				/* session */
	p += 32;
	p = put(p, suites, sizeof(suites));
	length = p;
	p += 2;
	p = put16(put16(p, 0), n + 5);		/* server_name */
	p = put16(p, n + 3);
	*p++ = 0;
	p = put(put16(p, n), name, n);
	p = put(p, extensions, sizeof(extensions));
	p = put16(put16(p, 51), 38);		/* key_share: x25519 */
	p = put16(put16(put16(p, 36), 0x1d), 32);
	p += 32;
	p = put16(p, 21);			/* padding: the rest */
	put16(p, (size_t)(end - p - 2));
	put16(length, (size_t)(end - length - 2));
}
