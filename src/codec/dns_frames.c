/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/dns_frames.h"
#include "codec/dns.h"

#define LENGTH_BYTES 2
/* At least: the root, type and class; and TTL and a length. */
#define QUESTION_MIN_BYTES 5
#define RECORD_MIN_BYTES 11

static size_t count_at(struct span in, size_t at)
{
	return (size_t)in.data[at] << 8 | in.data[at + 1];
}

/* Is there room in a message of @length bytes for what its header says?  Hardly any other
 * protocol looks like that. */
static bool is_likely(struct span header, size_t length)
{
	size_t records = count_at(header, 6) + count_at(header, 8) + count_at(header, 10);

	return DNS_HEADER_BYTES + count_at(header, 4) * QUESTION_MIN_BYTES +
		       records * RECORD_MIN_BYTES <=
	       length;
}

static struct span take(struct span *in, size_t n)
{
	struct span s = span_head(*in, n);

	*in = span_skip(*in, s.len);
	return s;
}

/* False: no memory. */
static bool keep(struct dns_frames *f, struct span s, size_t wanted_bytes)
{
	if (f->kept.len < f->came_bytes || f->kept.len >= wanted_bytes) /* there is a gap already */
		return true;
	return buf_append(&f->kept, span_head(s, wanted_bytes - f->kept.len), UINT16_MAX) == 0;
}

enum codec_result dns_frames_next(struct dns_frames *f, struct span *in, size_t wanted_bytes,
				  struct span *ret)
{
	struct span s, head;

	if (wanted_bytes < DNS_HEADER_BYTES)
		wanted_bytes = DNS_HEADER_BYTES;
	if (f->given) {
		buf_done(&f->kept);
		*f = (struct dns_frames){ 0 };
	}
	for (; f->n_length < LENGTH_BYTES && in->len; f->n_length++)
		f->length = (uint16_t)(f->length << 8 | take(in, 1).data[0]);
	if (f->n_length < LENGTH_BYTES)
		return CODEC_MORE;
	if (f->length < DNS_HEADER_BYTES)
		return CODEC_BAD;
	s = take(in, f->length - f->came_bytes);
	f->given = f->came_bytes + s.len == f->length;
	if (f->came_bytes || !f->given) { /* else it is whole where it lies */
		if (!keep(f, s, wanted_bytes))
			return CODEC_BAD;
		f->came_bytes += s.len;
		head = buf_span(&f->kept);
	} else {
		head = span_head(s, wanted_bytes);
	}
	if (!f->likely && head.len >= DNS_HEADER_BYTES && !is_likely(head, f->length))
		return CODEC_BAD;
	f->likely = head.len >= DNS_HEADER_BYTES;
	*ret = head;
	return f->given ? CODEC_DONE : CODEC_MORE;
}
