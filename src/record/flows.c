/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/text.h"
#include "codec/community_id.h"
#include "codec/json.h"
#include "core/flow.h"
#include "core/http_exchange.h"
#include "core/listener.h"
#include "core/via.h"
#include "record/flows.h"
#include "record/line.h"
#include "sys/log.h"

static const char *source_got_name(enum source_got s)
{
	switch (s) {
	case SOURCE_GOT_OWN:
		return "own";
	case SOURCE_GOT_ADDRESS:
		return "keep-address";
	case SOURCE_GOT_EXACT:
		return "keep";
	}
	return "?";
}

const char *record_verdict_word(enum verdict v)
{
	switch (v) {
	case VERDICT_ACCEPT:
		return "Accept";
	case VERDICT_DENY:
		return "Deny";
	case VERDICT_REJECT:
		return "Reject";
	}
	return "?";
}

static const char *tls_version_name(uint16_t v)
{
	switch (v) {
	case 0x0300:
		return "SSLv3";
	case 0x0301:
		return "TLS 1.0";
	case 0x0302:
		return "TLS 1.1";
	case 0x0303:
		return "TLS 1.2";
	case 0x0304:
		return "TLS 1.3";
	default:
		return "UNDETERMINED";
	}
}

uint64_t record_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

size_t record_text_start(char line[static RECORD_LINE_BYTES], enum log_level level,
			 const struct facts *facts)
{
	char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
	size_t n = log_prefix(level, line, RECORD_LINE_BYTES);

	n += (size_t)snprintf(line + n, RECORD_LINE_BYTES - n, "%s => ",
			      addr_format_ip(&facts->client, from));
	if (facts_lack_address(facts))
		return n + (size_t)snprintf(line + n, RECORD_LINE_BYTES - n, "%s:%u | ",
					    facts->target_name, facts->target.port);
	return n + (size_t)snprintf(line + n, RECORD_LINE_BYTES - n, "%s | ",
				    addr_format(&facts->target, to));
}

void record_text_put(const struct flow_recorder *r, const char *line, size_t n)
{
	record_put(r->queue, RECORD_TEXT,
		   span_of(line, n < RECORD_LINE_BYTES ? n : RECORD_LINE_BYTES - 1));
}

static void text_decided(const struct flow_recorder *r, const struct flow *f)
{
	char line[RECORD_LINE_BYTES], host[300];
	const struct facts *facts = &f->facts;
	size_t n = record_text_start(line, LOG_INFO, facts);

	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s",
			      record_verdict_word(f->decision.verdict));
	if (facts->bind)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " | bind");
	if (facts->protocol == PROTOCOL_TLS || facts->protocol == PROTOCOL_HTTP)
		n += (size_t)snprintf(
			line + n, sizeof(line) - n, " | %s%s%s", protocol_name(facts->protocol),
			facts->host ? " " : "",
			facts->host ? text_escape(span_str(facts->host), host, sizeof(host)) : "");
	record_text_put(r, line, n);
}

static void text_closed(const struct flow_recorder *r, const struct flow *f, enum log_level level)
{
	char line[RECORD_LINE_BYTES];
	size_t n = record_text_start(line, level, &f->facts);

	n += (size_t)snprintf(line + n, sizeof(line) - n,
			      "Close %s | %" PRIu64 " bytes up, %" PRIu64 " down", why_word(f->why),
			      f->up.bytes, f->down.bytes);
	record_text_put(r, line, n);
}

static void decided(struct worker *w, const struct flow *f)
{
	const struct flow_recorder *r = w->record;

	if (r->text)
		text_decided(r, f);
}

void record_json_ends(struct json *j, const struct addr *client, const struct addr *target,
		      const char *proto, uint8_t ip_proto)
{
	char text[ADDR_TEXT_MAX], id[COMMUNITY_ID_CAP];

	json_str(j, "src_ip", span_str(addr_format_ip(client, text)));
	json_u64(j, "src_port", client->port);
	if (target->family)
		json_str(j, "dest_ip", span_str(addr_format_ip(target, text)));
	if (target->port)
		json_u64(j, "dest_port", target->port);
	json_str(j, "proto", span_str(proto));
	if (target->family == client->family) {
		community_id(id, client, target, ip_proto);
		json_str(j, "community_id", span_str(id));
	}
}

static void json_names(struct json *j, const struct facts *facts)
{
	if (facts->protocol == PROTOCOL_TLS) {
		json_open(j, "tls");
		if (facts->host)
			json_str(j, "sni", span_str(facts->host));
		if (facts->tls_version)
			json_str(j, "version", span_str(tls_version_name(facts->tls_version)));
		if (facts->alpn)
			json_str(j, "client_alpns", span_str(facts->alpn));
		if (facts->ech)
			json_bool(j, "ech", true);
		json_close(j);
	}
	if (facts->protocol == PROTOCOL_HTTP) {
		json_open(j, "http");
		if (facts->host)
			json_str(j, "hostname", span_str(facts->host));
		if (facts->http.method)
			json_str(j, "http_method", span_str(facts->http.method));
		if (facts->http.target)
			json_str(j, "url", span_str(facts->http.target));
		if (facts->http.user_agent)
			json_str(j, "http_user_agent", span_str(facts->http.user_agent));
		json_close(j);
	}
}

static void json_opt(struct json *j, const char *key, const char *text)
{
	if (text)
		json_str(j, key, span_str(text));
}

/* Who the header of the PROXY protocol came from, and what else it said. */
static void json_proxy_header(struct json *j, const struct proxy_facts *p)
{
	char text[ADDR_TEXT_MAX];

	if (!p)
		return;
	json_open(j, "proxy_header");
	json_u64(j, "version", p->version);
	json_str(j, "sender_ip", span_str(addr_format_ip(&p->sender, text)));
	json_u64(j, "sender_port", p->sender.port);
	if (p->local)
		json_bool(j, "local", true);
	json_opt(j, "alpn", p->alpn);
	json_opt(j, "authority", p->authority);
	json_opt(j, "unique_id", p->unique_id);
	json_opt(j, "netns", p->netns);
	if (p->ssl) {
		json_open(j, "ssl");
		json_opt(j, "version", p->ssl_version);
		json_opt(j, "cipher", p->ssl_cipher);
		json_opt(j, "cn", p->ssl_cn);
		json_bool(j, "verified", p->ssl_verified);
		json_close(j);
	}
	json_close(j);
}

static const char *offload_used(const struct flow *f)
{
	return f->up.was_spliced || f->down.was_spliced ? "splice" : "copy";
}

/* What was asked for and by whom, and what policy said: of a flow, and of each exchange in one. */
static void json_decided(struct json *j, const struct flow *f)
{
	const struct rule *rule = f->decision.rule;

	if (f->facts.learnt_name && !f->facts.host)
		json_str(j, "learnt_name", span_str(f->facts.learnt_name));
	json_opt(j, "target_name", f->facts.target_name);
	json_opt(j, "asked", f->facts.asked);
	if (f->facts.mismatch)
		json_bool(j, "mismatch", true);
	if (rule)
		json_str(j, "rule", span_str(rule->name));
	if (f->decision.final)
		json_str(j, "action", span_str(verdict_name(f->decision.verdict)));
	json_bool(j, "inspected", false);
	if (f->plan.via)
		json_str(j, "via", span_str(f->plan.via->name));
	if (f->facts.bind)
		json_bool(j, "bind", true);
	json_opt(j, "user", f->facts.user);
	json_proxy_header(j, f->facts.proxy);
}

static void json_limpid(struct json *j, const struct flow *f)
{
	json_open(j, "limpid");
	json_str(j, "listener", span_str(f->listener->name));
	json_decided(j, f);
	if (end_is_open(&f->server))
		json_str(j, "source", span_str(source_got_name(f->source_got)));
	json_str(j, "why", span_str(why_word(f->why)));
	if (f->up.bytes + f->down.bytes)
		json_str(j, "offload", span_str(offload_used(f)));
	json_close(j);
}

static void json_flow(const struct flow_recorder *r, const struct flow *f)
{
	char line[RECORD_JSON_BYTES];
	struct json j;
	uint64_t now_us = record_now_us();
	ssize_t n;

	json_init(&j, line, sizeof(line));
	json_time(&j, "timestamp", now_us);
	json_u64(&j, "flow_id", f->id);
	json_str(&j, "event_type", span_str("flow"));
	record_json_ends(&j, &f->facts.client, &f->facts.target, "TCP", RECORD_IP_TCP);
	if (f->facts.protocol != PROTOCOL_UNKNOWN)
		json_str(&j, "app_proto",
			 span_str(f->facts.protocol == PROTOCOL_OTHER
					  ? "failed"
					  : protocol_name(f->facts.protocol)));
	json_open(&j, "flow");
	json_u64(&j, "bytes_toserver", f->up.bytes);
	json_u64(&j, "bytes_toclient", f->down.bytes);
	json_time(&j, "start", f->start_us);
	json_time(&j, "end", now_us);
	json_close(&j);
	json_names(&j, &f->facts);
	json_limpid(&j, f);
	n = json_end(&j);
	if (n > 0)
		record_put(r->queue, RECORD_JSON, span_of(line, (size_t)n));
	else
		record_lose(r->queue);
}

/* One line for each flow that went well; two for one that was carried and then broke off. */
static void closed(struct worker *w, const struct flow *f)
{
	const struct flow_recorder *r = w->record;
	bool broke = f->why != WHY_FINISHED && f->why != WHY_SHUTDOWN;
	bool refused = f->decision.final && f->decision.verdict != VERDICT_ACCEPT;

	if (r->text && !broke && !f->announced && f->decision.final)
		text_decided(r, f);
	if (r->text && broke && !refused)
		text_closed(r, f, LOG_INFO);
	else if (r->text && log_get_level() >= LOG_DEBUG)
		text_closed(r, f, LOG_DEBUG);
	if (r->json)
		json_flow(r, f);
}

static void json_request(struct json *j, const struct flow *f, const struct http_exchange *x)
{
	char ip[ADDR_TEXT_MAX];

	json_open(j, "http");
	if (f->facts.host)
		json_str(j, "hostname", span_str(f->facts.host));
	else if (f->facts.target.family)
		json_str(j, "hostname", span_str(addr_format_ip(&f->facts.target, ip)));
	json_str(j, "url", x->url);
	json_str(j, "http_method", x->method);
	if (x->user_agent.len)
		json_str(j, "http_user_agent", x->user_agent);
	if (x->content_type.len)
		json_str(j, "http_content_type", x->content_type);
	json_str(j, "protocol", span_str(x->minor ? "HTTP/1.1" : "HTTP/1.0"));
	if (x->status)
		json_u64(j, "status", x->status);
	json_u64(j, "length", x->down_bytes);
	if (x->up_bytes)
		json_u64(j, "request_length", x->up_bytes);
	json_close(j);
}

/* A request in a flow of an HTTP proxy. */
static void exchange(struct worker *w, const struct flow *f, const struct http_exchange *x)
{
	const struct flow_recorder *r = w->record;
	char line[RECORD_JSON_BYTES];
	struct json j;
	ssize_t n;

	if (!r->json)
		return;
	json_init(&j, line, sizeof(line));
	json_time(&j, "timestamp", record_now_us());
	json_u64(&j, "flow_id", f->id);
	json_str(&j, "event_type", span_str("http"));
	record_json_ends(&j, &f->facts.client, &f->facts.target, "TCP", RECORD_IP_TCP);
	json_request(&j, f, x);
	json_open(&j, "limpid");
	json_str(&j, "listener", span_str(f->listener->name));
	json_time(&j, "start", x->start_us);
	json_decided(&j, f);
	if (x->served)
		json_str(&j, "source", span_str(source_got_name(f->source_got)));
	json_str(&j, "why", span_str(why_word(x->why)));
	json_close(&j);
	n = json_end(&j);
	if (n > 0)
		record_put(r->queue, RECORD_JSON, span_of(line, (size_t)n));
	else
		record_lose(r->queue);
}

static void ending(struct worker *w)
{
	const struct flow_recorder *r = w->record;

	record_queue_may_wait(r->queue);
}

const struct observer flow_record_observer = {
	.decided = decided,
	.exchange = exchange,
	.closed = closed,
	.dns_answered = dns_record_answered,
	.ending = ending,
};

void flow_record_datagram_decided(struct worker *w, const struct facts *facts, enum verdict verdict)
{
	const struct flow_recorder *r = w->record;
	char line[RECORD_LINE_BYTES], host[300];
	size_t n;

	if (!r->text)
		return;
	n = record_text_start(line, LOG_INFO, facts);
	n += (size_t)snprintf(
		line + n, sizeof(line) - n, "%s | %s%s%s", record_verdict_word(verdict),
		facts->protocol == PROTOCOL_DNS ? "dns" : "udp", facts->host ? " " : "",
		facts->host ? text_escape(span_str(facts->host), host, sizeof(host)) : "");
	record_text_put(r, line, n);
}

/* An end that people should know about. */
static void text_datagram(const struct flow_recorder *r, const struct datagram_report *d)
{
	char line[RECORD_LINE_BYTES];
	size_t n;

	if (d->verdict != VERDICT_ACCEPT || d->why == WHY_IDLE || d->why == WHY_FINISHED ||
	    d->why == WHY_SHUTDOWN)
		return;
	n = record_text_start(line, LOG_INFO,
			      &(struct facts){ .client = d->client, .target = d->target });
	n += (size_t)snprintf(line + n, sizeof(line) - n, "Close %s", why_word(d->why));
	record_text_put(r, line, n);
}

static void json_datagram_names(struct json *j, const struct datagram_report *d)
{
	if (d->protocol != PROTOCOL_DNS || !d->host)
		return;
	json_open(j, "dns");
	json_str(j, "rrname", span_str(d->host));
	json_close(j);
}

static void json_datagram_limpid(struct json *j, const struct datagram_report *d)
{
	json_open(j, "limpid");
	json_str(j, "listener", span_str(d->listener));
	if (d->learnt_name)
		json_str(j, "learnt_name", span_str(d->learnt_name));
	json_opt(j, "target_name", d->asked);
	if (d->rule)
		json_str(j, "rule", span_str(d->rule->name));
	json_str(j, "action", span_str(verdict_name(d->verdict)));
	json_bool(j, "inspected", false);
	if (d->via)
		json_str(j, "via", span_str(d->via->name));
	json_opt(j, "user", d->user);
	json_proxy_header(j, d->proxy);
	json_str(j, "source", span_str(source_name(d->source)));
	json_str(j, "why", span_str(why_word(d->why)));
	if (d->up.dropped + d->down.dropped) {
		json_u64(j, "dropped_toserver", d->up.dropped);
		json_u64(j, "dropped_toclient", d->down.dropped);
	}
	json_close(j);
}

void flow_record_datagram(struct worker *w, const struct datagram_report *d, uint64_t id)
{
	const struct flow_recorder *r = w->record;
	uint64_t now_us = record_now_us();
	char line[RECORD_JSON_BYTES];
	struct json j;
	ssize_t n;

	if (r->text)
		text_datagram(r, d);
	if (!r->json)
		return;
	json_init(&j, line, sizeof(line));
	json_time(&j, "timestamp", now_us);
	json_u64(&j, "flow_id", id);
	json_str(&j, "event_type", span_str("flow"));
	record_json_ends(&j, &d->client, &d->target, "UDP", RECORD_IP_UDP);
	if (d->protocol != PROTOCOL_UNKNOWN)
		json_str(&j, "app_proto", span_str(protocol_name(d->protocol)));
	json_open(&j, "flow");
	json_u64(&j, "pkts_toserver", d->up.datagrams);
	json_u64(&j, "pkts_toclient", d->down.datagrams);
	json_u64(&j, "bytes_toserver", d->up.bytes);
	json_u64(&j, "bytes_toclient", d->down.bytes);
	json_time(&j, "start", now_us - (d->end_ms - d->start_ms) * 1000);
	json_time(&j, "end", now_us);
	json_close(&j);
	json_datagram_names(&j, d);
	json_datagram_limpid(&j, d);
	n = json_end(&j);
	if (n > 0)
		record_put(r->queue, RECORD_JSON, span_of(line, (size_t)n));
	else
		record_lose(r->queue);
}
