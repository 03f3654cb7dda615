/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol: linux/netfilter/nfnetlink_queue.h, net/netfilter/nfnetlink_queue.c. */
#include <arpa/inet.h> /* linux/netfilter.h stands beside netinet/in.h only behind it */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/nfqueue.h"

#define MESSAGE_BYTES 1024
#define VERDICT_BYTES 32
#define RECEIVE_BYTES (8 << 20)

struct nfqueue_batch {
	struct mmsghdr messages[NFQUEUE_BATCH];
	struct iovec iov[NFQUEUE_BATCH];
	/* aligned as struct nlmsghdr wants it */
	uint64_t bytes[NFQUEUE_BATCH][MESSAGE_BYTES / 8];
	uint64_t verdicts[NFQUEUE_BATCH][VERDICT_BYTES / 8];
	unsigned int n_verdicts;
	int verdicts_fd;
};

struct nfqueue_batch *nfqueue_batch_new(void)
{
	struct nfqueue_batch *b = NEW0(struct nfqueue_batch);

	for (size_t i = 0; b && i < NFQUEUE_BATCH; i++) {
		b->iov[i] = (struct iovec){ .iov_base = b->bytes[i], .iov_len = MESSAGE_BYTES };
		b->messages[i].msg_hdr = (struct msghdr){ .msg_iov = &b->iov[i], .msg_iovlen = 1 };
	}
	return b;
}

void nfqueue_batch_free(struct nfqueue_batch *b)
{
	free(b);
}

static struct nlmsghdr *put_header(void *buf, uint16_t type, uint16_t flags, uint16_t number)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;

	m->nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	g = mnl_nlmsg_put_extra_header(m, sizeof(*g));
	g->nfgen_family = AF_UNSPEC;
	g->version = NFNETLINK_V0;
	g->res_id = htons(number);
	return m;
}

/* Everything in one message: either the queue is as asked, or it is not ours. */
static int configure(struct mnl_socket *nl, uint16_t number, uint32_t head_bytes, uint32_t length,
		     bool open)
{
	uint64_t buf[MESSAGE_BYTES / 8];
	struct nlmsghdr *m = put_header(buf, NFQNL_MSG_CONFIG, NLM_F_ACK, number);
	struct nfqnl_msg_config_cmd command = { .command = NFQNL_CFG_CMD_BIND };
	struct nfqnl_msg_config_params params = { .copy_range = htonl(head_bytes),
						  .copy_mode = NFQNL_COPY_PACKET };
	ssize_t n;

	mnl_attr_put(m, NFQA_CFG_CMD, sizeof(command), &command);
	mnl_attr_put(m, NFQA_CFG_PARAMS, sizeof(params), &params);
	mnl_attr_put_u32(m, NFQA_CFG_QUEUE_MAXLEN, htonl(length));
	mnl_attr_put_u32(m, NFQA_CFG_FLAGS, htonl(open ? NFQA_CFG_F_FAIL_OPEN : 0));
	mnl_attr_put_u32(m, NFQA_CFG_MASK, htonl(NFQA_CFG_F_FAIL_OPEN));
	if (mnl_socket_sendto(nl, m, m->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0 || mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(nl), NULL, NULL) < 0)
		return -errno;
	return 0;
}

/* Packets that find no room here are lost: as many fit as may wait. */
static void set_buffer(int fd, uint32_t length)
{
	int bytes = RECEIVE_BYTES, on = 1;

	if (length < RECEIVE_BYTES / MESSAGE_BYTES)
		bytes = (int)length * MESSAGE_BYTES + MESSAGE_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
}

int nfqueue_open(uint16_t number, uint32_t head_bytes, uint32_t length, bool open)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int fd, r;

	if (!nl)
		return -errno;
	r = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
	if (!r)
		r = configure(nl, number, head_bytes, length, open);
	/* The descriptor is all that is needed from here on; libmnl has no way to give it up. */
	fd = r < 0 ? r : fcntl(mnl_socket_get_fd(nl), F_DUPFD_CLOEXEC, 3);
	if (!r && (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
		fd = -errno;
	mnl_socket_close(nl);
	if (fd >= 0)
		set_buffer(fd, length);
	return fd;
}

static int take_attribute(const struct nlattr *a, void *arg)
{
	struct nfqueue_packet *p = arg;
	struct nfqnl_msg_packet_hdr h;

	switch (mnl_attr_get_type(a)) {
	case NFQA_PACKET_HDR:
		if (mnl_attr_get_payload_len(a) < sizeof(h))
			return MNL_CB_ERROR;
		memcpy(&h, mnl_attr_get_payload(a), sizeof(h));
		p->id = ntohl(h.packet_id);
		return MNL_CB_OK;
	case NFQA_IFINDEX_INDEV:
		if (mnl_attr_get_payload_len(a) >= sizeof(uint32_t))
			p->in_ifindex = ntohl(mnl_attr_get_u32(a));
		return MNL_CB_OK;
	case NFQA_PAYLOAD:
		p->head = span_of(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));
		return MNL_CB_OK;
	default:
		return MNL_CB_OK;
	}
}

/* Errors about verdicts (the packet is gone already) come this way, too. */
static bool take_message(const void *bytes, size_t len, struct nfqueue_packet *ret)
{
	const struct nlmsghdr *m = bytes;

	*ret = (struct nfqueue_packet){ 0 };
	return mnl_nlmsg_ok(m, (int)len) &&
	       m->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) &&
	       mnl_attr_parse(m, sizeof(struct nfgenmsg), take_attribute, ret) >= 0 && ret->id;
}

int nfqueue_read(int fd, struct nfqueue_batch *b, struct nfqueue_packet *ret)
{
	int n = recvmmsg(fd, b->messages, NFQUEUE_BATCH, MSG_DONTWAIT, NULL), count = 0;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		count += take_message(b->bytes[i], b->messages[i].msg_len, &ret[count]);
	return count;
}

static_assert(NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg)) + NLA_HDRLEN +
			      sizeof(struct nfqnl_msg_verdict_hdr) ==
		      VERDICT_BYTES,
	      "a verdict has no gap behind it");

static void put_verdict(void *buf, uint16_t number, uint32_t id, bool accept)
{
	struct nlmsghdr *m = put_header(buf, NFQNL_MSG_VERDICT, 0, number);
	struct nfqnl_msg_verdict_hdr v = { .verdict = htonl(accept ? NF_ACCEPT : NF_DROP),
					   .id = htonl(id) };

	mnl_attr_put(m, NFQA_VERDICT_HDR, sizeof(v), &v);
}

int nfqueue_verdict(int fd, uint16_t number, uint32_t id, bool accept)
{
	uint64_t buf[VERDICT_BYTES / 8];

	put_verdict(buf, number, id, accept);
	return send(fd, buf, sizeof(buf), MSG_DONTWAIT) < 0 ? -errno : 0;
}

void nfqueue_flush(struct nfqueue_batch *b)
{
	if (b->n_verdicts)
		(void)send(b->verdicts_fd, b->verdicts, (size_t)b->n_verdicts * VERDICT_BYTES,
			   MSG_DONTWAIT);
	b->n_verdicts = 0;
}

void nfqueue_accept_later(struct nfqueue_batch *b, int fd, uint16_t number, uint32_t id)
{
	if (b->n_verdicts == NFQUEUE_BATCH || b->verdicts_fd != fd)
		nfqueue_flush(b);
	b->verdicts_fd = fd;
	put_verdict(b->verdicts[b->n_verdicts++], number, id, true);
}
