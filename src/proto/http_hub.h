/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_HTTP_HUB_H
#define PROTO_HTTP_HUB_H

#include <time.h>

#include "codec/http1_body.h"
#include "codec/http1_response.h"
#include "core/flow.h"
#include "core/http_answer.h"
#include "core/users.h"
#include "proto/http_origin.h"

/* What http_forward.c, http_request.c and http_response.c share. */

#define HTTP_HEAD_MAX_BYTES ((size_t)64 << 10)
/* Half of the thread's buffer: bytes are read into the one, and written anew in the other. */
#define HTTP_HALF(t) ((t)->buffer_bytes / 2)
/* What a hub keeps of a peer that does not take its bytes: what one read made, or interceptors
 * made of it. */
#define HTTP_REST_MAX_BYTES ((size_t)2 << 20)
#define HTTP_SAID_MAX_BYTES 1024

/**
 * enum hub_step - where the exchange stands
 * @HUB_HEAD:	 waits for a request, or for a login
 * @HUB_DIAL:	 its server is being dialled
 * @HUB_EXCHANGE: the request goes up, the answer comes down
 * @HUB_LAST:	 what is to be said to the client is the last
 */
enum hub_step {
	HUB_HEAD,
	HUB_DIAL,
	HUB_EXCHANGE,
	HUB_LAST,
};

/**
 * struct hub - a client of an HTTP proxy; f->proto_state
 * @in:		what it has said and nobody has looked at
 * @hungry:	of which is less than a head
 * @held_bytes:	of @in, as realm->look_ahead_bytes counts them
 * @head_ms:	since when
 * @up, @down:	not taken yet by the server, by the client
 * @up_pipe, @down_pipe: content that goes by splice, and is not taken yet: see http_bulk.c
 * @again:	the head of a request that may be sent again, on a new connection
 * @reply:	the beginning of the answer's head
 * @up_trailers, @down_trailers: what has come of them
 * @alone:	somebody may want to see the exchange: its server's connection is for nothing else
 * @down_ended:	and has been shown the answer's end
 * @login:	the Proxy-Authorization that was found right, until @login_ms
 * @said:	what records show of the request: method, url, user agent
 * @content_type: of the answer, likewise
 * @date:	a Date line, of the second @date_s
 * @up_over:	the request has been sent, or the server does not want the rest
 * @begun:	the client has been told a status
 * @up_chunked, @down_chunked: how content is written
 * @keep:	the client's connection goes on afterwards
 * @origin_keep: and so does the server's
 * @expects:	the client waits for 100 before it sends content
 * @answered:	the answer has been given, while the server still takes the rest of the request
 * @no_content:	the answer has none, whatever its head says: HEAD
 * @upgrade:	the client wants to go on with another protocol
 * @owns:	the client logs in to the server by connection, not by request
 * @retry:	@again may be used
 * @client_end:	the client says nothing more
 * @known:	who asks has been found out
 * @asked:	policy has been asked about the request
 * @up_options, @down_options: Connection names fields that end here, maybe trailers, too
 */
struct hub {
	struct flow *flow;
	enum hub_step step;
	struct origin *origin;
	struct http1_scan scan;
	size_t scanned, held_bytes;
	struct buf in, up, down, again, reply, up_trailers, down_trailers, login, said;
	uint64_t login_ms, start_us, head_ms;
	struct http1_body up_body, down_body;
	struct pipe *up_pipe, *down_pipe;
	uint64_t up_bytes, down_bytes;
	unsigned int status;
	uint16_t method_bytes, url_bytes, agent_bytes;
	char content_type[64], date[HTTP_DATE_CAP];
	time_t date_s;
	uint8_t minor;
	enum why why;
	bool hungry, up_over, begun, up_chunked, down_chunked, keep, origin_keep, no_content;
	bool upgrade, retry, client_end, expects, answered, alone, down_ended, owns, known, asked;
	bool up_options, down_options;
};

/* A message being written in the second half of the thread's buffer. */
struct http_out {
	uint8_t *data;
	size_t len, cap;
};

struct http_out http_out_of(struct hub *h);
void http_put(struct http_out *o, struct span s);
void http_put_str(struct http_out *o, const char *s);
void http_put_fields(struct http_out *o, const struct http1_summary *s,
		     const struct http1_field *fields, size_t n);
/* Content, as a chunk or as it is; nothing for nothing. */
void http_put_content(struct http_out *o, struct span content, bool chunked);
/* The end of chunked content; @trailers as they were read, with their empty line. */
void http_put_end(struct http_out *o, struct span trailers);

/* Write to the client, to the server; what is not taken is kept.  False: the flow has ended (of
 * hub_send_up(): the server is dead, and what it has said will be read). */
bool hub_send_down(struct hub *h, struct span s);
bool hub_send_up(struct hub *h, struct span s);

/* What cannot be sent to the server any more is forgotten. */
void hub_up_dead(struct hub *h);

/*
 * Interceptors, http_shown.c.  False: the flow has ended.
 */

/* The server is there. */
bool hub_shown_begin(struct hub *h);
/* The exchange is over. */
void hub_shown_end(struct hub *h);
/* What goes to the server, what came from it; @out gets what goes on instead. */
bool hub_show_up(struct hub *h, struct span s, struct buf *out);
bool hub_show_down(struct hub *h, struct span s, bool end, struct buf *out);
/* Does anybody look? */
bool hub_is_shown(const struct lane *l);

/* Answer the client ourselves; the exchange is over. */
void hub_answer(struct hub *h, struct http_answer *a);
/* The same, with the status that goes with @why. */
void hub_fail(struct hub *h, enum why why, const char *text);

/* Who asks?  LOGIN_LATER: the flow's proto is run again once that is known. */
enum login_answer hub_log_in(struct hub *h, const struct http1_summary *fields);

/* @n bytes of a head are held.  False: those of all flows are too many; this one has ended. */
bool hub_hold(struct hub *h, size_t n);

/* The answer has been given. */
void hub_exchange_over(struct hub *h, enum why why);

/* Get a server by @plan, which policy has accepted; @young: one that has not waited for long. */
void hub_dial(struct hub *h, const struct plan *plan, bool young);

/* There is a server, or why there is none. */
void hub_dialled(struct hub *h, enum why outcome);

/*
 * Each takes a step, if one can be taken; false: something must come first.
 */
bool hub_request(struct hub *h);  /* in HUB_HEAD */
bool hub_upload(struct hub *h);	  /* in HUB_EXCHANGE */
bool hub_download(struct hub *h); /* likewise */

/*
 * Content whose end is far, from socket to socket: http_bulk.c.  The last of it is left to be read
 * as ever.  True: nothing is to be read now; it goes on with the next event, or the flow or the
 * server is dead.
 */
bool hub_bulk_up(struct hub *h);
bool hub_bulk_down(struct hub *h);
void hub_bulk_forget(struct hub *h);

/* Note that @n bytes have moved. */
void hub_moved(struct hub *h, uint64_t n);

/* Who looks at it has left, and what was held goes on. */
bool hub_let_leave(struct hub *h);

/* The server has broken off. */
void hub_origin_failed(struct hub *h, int error);

#endif
