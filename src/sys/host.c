/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "sys/host.h"

#define VALUE_MAX_BYTES (256 << 10) /* every second of 65536 ports, in decimal */

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

bool host_may_admin_net(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return !syscall(SYS_capget, &head, data) && data[0].effective & 1U << CAP_NET_ADMIN;
}

static bool has_v6(const char *interface)
{
	_cleanup_free_ char *off = NULL;
	char path[128];

	snprintf(path, sizeof(path), "net/ipv6/conf/%s/disable_ipv6", interface);
	return !host_value_read(path, &off) && !strcmp(off, "0");
}

/* Where "all" is off, NetworkManager and others switch single interfaces on again. */
bool host_has_v6(void)
{
	struct if_nameindex *list = if_nameindex();
	bool has = has_v6("all");

	for (const struct if_nameindex *i = list; i && i->if_index && !has; i++)
		has = has_v6(i->if_name);
	if (list)
		if_freenameindex(list);
	return has;
}

const char *host_cgroup_prefix(void)
{
	return access("/sys/fs/cgroup/cgroup.controllers", F_OK) &&
			       !access("/sys/fs/cgroup/unified/cgroup.procs", F_OK)
		       ? "unified/"
		       : "";
}

int host_namespace(uint64_t *ret_inode, uint64_t *ret_cookie)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct stat st;
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (stat("/proc/thread-self/ns/net", &st) < 0)
		return -errno;
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		cookie = 0;
	*ret_inode = st.st_ino;
	*ret_cookie = cookie;
	return 0;
}

int host_value_read(const char *path, char **ret)
{
	_cleanup_free_ char *text = calloc(1, VALUE_MAX_BYTES + 1);
	_cleanup_close_ int fd = -1;
	char name[128];
	ssize_t len;

	snprintf(name, sizeof(name), "/proc/sys/%s", path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (!text || fd < 0)
		return -errno;
	len = read(fd, text, VALUE_MAX_BYTES); /* a second read would get nothing */
	if (len <= 0)
		return len < 0 ? -errno : -ENODATA;
	text[strcspn(text, "\n")] = '\0';
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

int host_value_write(const char *path, const char *value)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *line = NULL;
	char name[128];
	int len = asprintf(&line, "%s\n", value);

	snprintf(name, sizeof(name), "/proc/sys/%s", path);
	if (len < 0) {
		line = NULL;
		return -ENOMEM;
	}
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* A page at a time is taken; of a list, what comes later is added. */
	for (ssize_t done = 0, n; done < len; done += n) {
		n = write(fd, line + done, (size_t)(len - done));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}
