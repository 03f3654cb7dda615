/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/addr.h"
#include "base/hostname.h"

#define LABEL_MAX_BYTES 63

/* The character in lower case, or 0 when no label may hold it. */
static char label_char(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c + ('a' - 'A'));
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
		return (char)c;
	return 0;
}

int hostname_parse(struct span s, char ret[static HOSTNAME_CAP])
{
	size_t label = 0;

	if (s.len && s.data[s.len - 1] == '.')
		s.len--;
	if (!s.len || s.len >= HOSTNAME_CAP)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] == '.') {
			if (!label)
				return -EINVAL;
			label = 0;
			ret[i] = '.';
			continue;
		}
		ret[i] = label_char(s.data[i]);
		if (!ret[i] || ++label > LABEL_MAX_BYTES)
			return -EINVAL;
	}
	if (!label)
		return -EINVAL;
	ret[s.len] = '\0';
	return hostname_is_ip(span_of(ret, s.len)) ? -EINVAL : 0;
}

bool hostname_is_ip(struct span s)
{
	char text[ADDR_TEXT_MAX];
	struct addr a;

	if (s.len >= sizeof(text))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		/* Before addr_parse_ip(), which would look up the interface behind a '%'. */
		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f') &&
		    c != ':' && c != '.')
			return false;
		text[i] = (char)c;
	}
	text[s.len] = '\0';
	return addr_parse_ip(text, &a) == 0;
}
