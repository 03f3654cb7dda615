/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A person reads the page, a program the status and Proxy-Status (RFC 9209).
 * What the client sent stands on the page escaped and cut; nothing else from outside does.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/http_answer.h"

#define ABOUT_MAX_BYTES 200
#define BODY_CAP 2048

unsigned int http_answer_status(enum why why)
{
	static const uint16_t status[WHY_COUNT] = {
		[WHY_OPEN] = 200,     [WHY_DENIED] = 403,      [WHY_REJECTED] = 403,
		[WHY_NARROWED] = 403, [WHY_NO_TARGET] = 408,   [WHY_GREETING] = 400,
		[WHY_LOGIN] = 407,    [WHY_IDLE] = 504,	       [WHY_CONNECT_TIMEOUT] = 504,
		[WHY_PROXY_REFUSED] = 403, [WHY_LIMIT] = 503, [WHY_SHUTDOWN] = 503,
		[WHY_LOOP] = 508,
		[WHY_INTERNAL] = 500, [WHY_SERVER_LOST] = 504,
	};

	return status[why] ? status[why] : 502;
}

static const char *reason(unsigned int status)
{
	static const struct {
		unsigned int status;
		const char *text;
	} reasons[] = {
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 405, "Method Not Allowed" },
		{ 407, "Proxy Authentication Required" },
		{ 408, "Request Timeout" },
		{ 411, "Length Required" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 508, "Loop Detected" },
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Error";
}

/* Error types of RFC 9209 section 2.3. */
static const char *proxy_error(const struct http_answer *a)
{
	static const char *const types[WHY_COUNT] = {
		[WHY_DENIED] = "http_request_denied",
		[WHY_REJECTED] = "http_request_denied",
		[WHY_NARROWED] = "http_request_denied",
		[WHY_LOGIN] = "http_request_denied",
		[WHY_GREETING] = "http_request_error",
		[WHY_NO_TARGET] = "http_request_error",
		[WHY_SERVER_REFUSED] = "connection_refused",
		[WHY_SERVER_RESET] = "connection_terminated",
		[WHY_SERVER_LOST] = "connection_timeout",
		[WHY_CONNECT_TIMEOUT] = "connection_timeout",
		[WHY_IDLE] = "http_response_timeout",
		[WHY_SERVER_UNREACHABLE] = "destination_ip_unroutable",
		[WHY_NAME_UNKNOWN] = "dns_error",
		[WHY_NAME_FAILED] = "dns_timeout",
		[WHY_LOOP] = "proxy_loop_detected",
		[WHY_LIMIT] = "connection_limit_reached",
		[WHY_INTERNAL] = "proxy_internal_error",
	};

	if (a->error)
		return a->error;
	return types[a->why] ? types[a->why] : "http_protocol_error";
}

/* Text for HTML; whole characters only, and ASCII. */
static void escape(struct span s, char *dst, size_t cap_bytes)
{
	size_t n = 0;

	s = span_head(s, ABOUT_MAX_BYTES);
	for (size_t i = 0; i < s.len && n + 8 < cap_bytes; i++) {
		uint8_t c = s.data[i];

		if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
			n += (size_t)snprintf(dst + n, cap_bytes - n, "&#%u;", c);
		else
			dst[n++] = c < ' ' || c > '~' ? '?' : (char)c;
	}
	dst[n] = '\0';
}

static size_t body_format(const struct http_answer *a, char body[static BODY_CAP])
{
	char about[ABOUT_MAX_BYTES * 5 + 16];

	escape(a->about, about, sizeof(about));
	return (size_t)snprintf(
		body, BODY_CAP,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
		"<title>%u %s</title></head>\n<body><h1>%u %s</h1>\n%s%s%s<p>%s.</p>\n"
		"<hr><p>limpid: %s</p></body></html>\n",
		a->status, reason(a->status), a->status, reason(a->status),
		about[0] ? "<p><code>" : "", about, about[0] ? "</code></p>\n" : "",
		a->text ? a->text : why_text(a->why), why_word(a->why));
}

void http_date_format(char dst[static HTTP_DATE_CAP])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t now = time(NULL);
	struct tm t;

	gmtime_r(&now, &t);
	snprintf(dst, HTTP_DATE_CAP, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
		 days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon, t.tm_year + 1900,
		 t.tm_hour, t.tm_min, t.tm_sec);
}

size_t http_answer_format(const struct http_answer *a, char dst[static HTTP_ANSWER_CAP])
{
	char body[BODY_CAP], date[HTTP_DATE_CAP];
	size_t n, n_body = body_format(a, body);

	http_date_format(date);
	n = (size_t)snprintf(dst, HTTP_ANSWER_CAP,
			     "HTTP/1.1 %u %s\r\n%sContent-Type: text/html; charset=utf-8\r\n"
			     "Content-Length: %zu\r\nCache-Control: no-store\r\n"
			     "Proxy-Status: limpid; error=%s\r\n%s%s\r\n",
			     a->status, reason(a->status), date, n_body, proxy_error(a),
			     a->fields ? a->fields : "", a->keep ? "" : "Connection: close\r\n");
	if (!a->no_body && n + n_body < HTTP_ANSWER_CAP) {
		memcpy(dst + n, body, n_body);
		n += n_body;
	}
	return n;
}
