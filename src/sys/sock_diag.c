/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "sys/sock_diag.h"

#define ANSWER_BYTES 8192

static struct inet_diag_sockid socket_id(const struct addr *local, const struct addr *remote)
{
	struct inet_diag_sockid id = {
		.idiag_sport = htons(local->port),
		.idiag_dport = htons(remote->port),
		.idiag_if = remote->scope_id,
		.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
	};

	memcpy(id.idiag_src, local->ip, sizeof(id.idiag_src));
	memcpy(id.idiag_dst, remote->ip, sizeof(id.idiag_dst));
	return id;
}

static int take_socket(const struct nlmsghdr *m, void *arg)
{
	struct inet_diag_msg *ret = arg;

	if (mnl_nlmsg_get_payload_len(m) < sizeof(*ret))
		return MNL_CB_ERROR;
	memcpy(ret, mnl_nlmsg_get_payload(m), sizeof(*ret));
	return MNL_CB_OK;
}

/* One request about exactly one socket; its answer is a socket or an acknowledgement. */
static int ask(struct mnl_socket *nl, uint16_t type, uint16_t flags, uint8_t family,
	       const struct inet_diag_sockid *id, struct inet_diag_msg *ret)
{
	char buf[ANSWER_BYTES];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req;
	ssize_t n;

	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	m->nlmsg_seq = type;
	req = mnl_nlmsg_put_extra_header(m, sizeof(*req));
	req->sdiag_family = family == 4 ? AF_INET : AF_INET6;
	req->sdiag_protocol = IPPROTO_TCP;
	req->idiag_states = UINT32_MAX; /* of no effect for one socket: see the caller */
	req->id = *id;
	if (mnl_socket_sendto(nl, m, m->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0 ||
	    mnl_cb_run(buf, (size_t)n, type, mnl_socket_get_portid(nl), take_socket, ret) < 0)
		return -errno;
	return 0;
}

static int end_time_wait(struct mnl_socket *nl, const struct addr *local, const struct addr *remote)
{
	struct inet_diag_sockid id = socket_id(local, remote);
	struct inet_diag_msg found = { 0 };
	int r;

	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	r = ask(nl, SOCK_DIAG_BY_FAMILY, 0, local->family, &id, &found);
	if (r < 0)
		return r;
	/* A listening socket is what the kernel finds where there is no connection. */
	if (found.idiag_state != TCP_TIME_WAIT)
		return found.idiag_state == TCP_LISTEN ? -ENOENT : -EBUSY;
	memcpy(id.idiag_cookie, found.id.idiag_cookie, sizeof(id.idiag_cookie));
	return ask(nl, SOCK_DESTROY, NLM_F_ACK, local->family, &id, &found);
}

int sock_diag_end_time_wait(const struct addr *local, const struct addr *remote)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int r;

	if (!nl)
		return -errno;
	r = end_time_wait(nl, local, remote);
	mnl_socket_close(nl);
	return r;
}
