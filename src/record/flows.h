/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORD_FLOWS_H
#define RECORD_FLOWS_H

#include "core/datagram.h"
#include "core/worker.h"
#include "record/writer.h"

/**
 * struct flow_recorder - one worker's way to write about its flows; worker->record
 * @text:	lines for people are wanted
 */
struct flow_recorder {
	struct record_queue *queue;
	bool text, json;
};

/* For people: `<time> | INFO | client => server:port | Accept`; for machines: one JSON object per
 * flow, and one per request to an HTTP proxy, in the names of Suricata's EVE
 * (doc/userguide/output/eve). */
extern const struct observer flow_record_observer;

/* The same for datagram flows: a line when one begins, an object when it has ended. */
void flow_record_datagram_decided(struct worker *w, const struct facts *facts,
				  enum verdict verdict);
void flow_record_datagram(struct worker *w, const struct datagram_report *r, uint64_t id);

#endif
