/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORD_LINE_H
#define RECORD_LINE_H

#include "codec/json.h"
#include "core/facts.h"
#include "record/flows.h"
#include "sys/log.h"

/* What the lines about flows, datagrams and queries have in common. */

#define RECORD_LINE_BYTES 4096
/* Every string of a stranger at its longest, each byte escaped as \u00XX. */
#define RECORD_JSON_BYTES (34 << 10)
#define RECORD_IP_TCP 6
#define RECORD_IP_UDP 17

uint64_t record_now_us(void);
const char *record_verdict_word(enum verdict v); /* "Accept" */

/* `<time> | LEVEL | client => server:port | `; a name stands for the address it has not yet. */
size_t record_text_start(char line[static RECORD_LINE_BYTES], enum log_level level,
			 const struct facts *facts);
void record_text_put(const struct flow_recorder *r, const char *line, size_t n);
void record_json_ends(struct json *j, const struct addr *client, const struct addr *target,
		      const char *proto, uint8_t ip_proto);

struct dns_report;
void dns_record_answered(struct worker *w, const struct dns_report *r);

#endif
