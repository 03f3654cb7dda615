/* SPDX-License-Identifier: Apache-2.0 */
/* What is said about queries to a DNS listener. */
#include <stdio.h>

#include "base/text.h"
#include "core/dns_report.h"
#include "core/worker.h"
#include "record/line.h"

#define ANSWERS_MAX 64

static const char *type_text(uint16_t type, char dst[static 16])
{
	const char *name = dns_type_name(type);

	if (name)
		return name;
	snprintf(dst, 16, "TYPE%u", type); /* RFC 3597 section 5 */
	return dst;
}

static const char *rcode_text(const struct dns_report *r, char dst[static 16])
{
	uint8_t rcode = r->answer.len >= DNS_HEADER_BYTES ? r->answer.data[3] & 15 : 0;
	const char *name = dns_rcode_name(rcode);

	if (name)
		return name;
	snprintf(dst, 16, "RCODE%u", rcode);
	return dst;
}

static const char *name_of(const struct dns_report *r)
{
	return r->query->name[0] ? r->query->name : "?";
}

static struct facts facts_of(const struct dns_report *r)
{
	return (struct facts){ .client = r->client, .target = r->target };
}

static size_t text_addresses(const struct dns_report *r, char *dst, size_t cap)
{
	struct addr found[DNS_ADDRESSES_MAX];
	char text[ADDR_TEXT_MAX];
	struct dns_message m;
	uint32_t ttl_s;
	size_t n = 0, len = 0;

	if (dns_parse(r->answer, &m) == CODEC_DONE)
		n = dns_addresses(r->answer, &m, found, &ttl_s);
	for (size_t i = 0; i < n && len + ADDR_TEXT_MAX < cap; i++)
		len += (size_t)snprintf(dst + len, cap - len, " %s",
					addr_format_ip(&found[i], text));
	return len;
}

static void text_line(const struct flow_recorder *recorder, const struct dns_report *r)
{
	char line[RECORD_LINE_BYTES], name[300], type[16], rcode[16];
	struct facts facts = facts_of(r);
	size_t n = record_text_start(line, LOG_INFO, &facts);

	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s | dns %s %s %s",
			      record_verdict_word(r->verdict),
			      text_escape(span_str(name_of(r)), name, sizeof(name)),
			      type_text(r->query->type, type),
			      r->answer.len ? rcode_text(r, rcode) : "unanswered");
	n += text_addresses(r, line + n, sizeof(line) - n);
	record_text_put(recorder, line, n);
}

static void json_data(struct json *j, const struct dns_report *r, const struct dns_record *record)
{
	struct addr a = { .family = record->type == DNS_TYPE_A ? 4 : 6 };
	char text[ADDR_TEXT_MAX], name[DNS_NAME_CAP];
	size_t at = record->data_at;

	if ((record->type == DNS_TYPE_A && record->data.len == 4) ||
	    (record->type == DNS_TYPE_AAAA && record->data.len == 16)) {
		memcpy(a.ip, record->data.data, record->data.len);
		json_str(j, "rdata", span_str(addr_format_ip(&a, text)));
	} else if (record->type == DNS_TYPE_CNAME &&
		   dns_name_parse(r->answer, &at, name) == CODEC_DONE) {
		json_str(j, "rdata", span_str(name));
	}
}

static void json_answers(struct json *j, const struct dns_report *r)
{
	struct dns_record record;
	struct dns_message m;
	char type[16];
	size_t at;

	if (dns_parse(r->answer, &m) != CODEC_DONE || !m.n_answers)
		return;
	at = m.question_end;
	json_list_open(j, "answers");
	for (size_t i = 0; i < m.n_answers && i < ANSWERS_MAX; i++) {
		if (dns_record_parse(r->answer, &at, &record) != CODEC_DONE)
			break;
		json_item_open(j);
		json_str(j, "rrname", span_str(record.name));
		json_str(j, "rrtype", span_str(type_text(record.type, type)));
		json_u64(j, "ttl", record.ttl_s);
		json_data(j, r, &record);
		json_close(j);
	}
	json_list_close(j);
}

static void json_dns(struct json *j, const struct dns_report *r, bool with_answers)
{
	char type[16], rcode[16];

	json_open(j, "dns");
	json_u64(j, "version", 2);
	json_str(j, "type", span_str(r->answer.len ? "answer" : "query"));
	json_u64(j, "id", r->query->id);
	if (r->query->name[0]) {
		json_str(j, "rrname", span_str(r->query->name));
		json_str(j, "rrtype", span_str(type_text(r->query->type, type)));
	}
	if (r->answer.len) {
		json_str(j, "rcode", span_str(rcode_text(r, rcode)));
		if (with_answers)
			json_answers(j, r);
	}
	json_close(j);
}

static void json_limpid(struct json *j, const struct dns_report *r)
{
	char text[ADDR_TEXT_MAX];

	json_open(j, "limpid");
	json_str(j, "listener", span_str(r->listener));
	if (r->rule)
		json_str(j, "rule", span_str(r->rule->name));
	json_str(j, "action", span_str(verdict_name(r->verdict)));
	if (r->sender.family) {
		json_open(j, "proxy_header");
		json_str(j, "sender_ip", span_str(addr_format_ip(&r->sender, text)));
		json_u64(j, "sender_port", r->sender.port);
		json_close(j);
	}
	if (r->server.family)
		json_str(j, "server", span_str(addr_format_ip(&r->server, text)));
	json_str(j, "why", span_str(why_word(r->why)));
	json_close(j);
}

/* Return: as json_end(). */
static ssize_t json_line(const struct dns_report *r, char *line, size_t cap, bool with_answers)
{
	bool tcp = r->network == NETWORK_TCP;
	struct json j;

	json_init(&j, line, cap);
	json_time(&j, "timestamp", record_now_us());
	json_str(&j, "event_type", span_str("dns"));
	record_json_ends(&j, &r->client, &r->target, tcp ? "TCP" : "UDP",
			 tcp ? RECORD_IP_TCP : RECORD_IP_UDP);
	json_dns(&j, r, with_answers);
	json_limpid(&j, r);
	return json_end(&j);
}

void dns_record_answered(struct worker *w, const struct dns_report *r)
{
	const struct flow_recorder *recorder = w->record;
	char line[RECORD_JSON_BYTES];
	ssize_t n;

	if (recorder->text)
		text_line(recorder, r);
	if (!recorder->json)
		return;
	n = json_line(r, line, sizeof(line), true);
	if (n < 0) /* names at their longest */
		n = json_line(r, line, sizeof(line), false);
	if (n > 0)
		record_put(recorder->queue, RECORD_JSON, span_of(line, (size_t)n));
	else
		record_lose(recorder->queue);
}
