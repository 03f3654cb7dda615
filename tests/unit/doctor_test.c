/* SPDX-License-Identifier: Apache-2.0 */
/* limpid doctor: what is asked of the kernel and of the process. */
#include "doctor_fixture.h"

static void test_healthy(void **state)
{
	struct bed *b = *state;

	expect_nothing(b);
	assert_true(b->findings.n > 20); /* it has looked */
	config_free(b->config);
	b->config = NULL;
	expect_nothing(b);
	assert_true(b->findings.n > 3);
}

static void test_settings(void **state)
{
	static const struct {
		const char *path, *bad, *good;
		const char *check, *cure;
		enum finding_status status;
	} cases[] = {
		{ "/proc/sys/net/ipv4/ip_forward", "0", "1", "forwarding",
		  "sysctl -w net.ipv4.ip_forward=1", FINDING_WARN },
		{ "/proc/sys/net/ipv6/conf/all/forwarding", "0", "1", "forwarding",
		  "sysctl -w net.ipv6.conf.all.forwarding=1", FINDING_WARN },
		{ "/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1", "0", "ipv6",
		  "sysctl -w net.ipv6.conf.lo.disable_ipv6=0", FINDING_FAIL },
		{ "/proc/sys/net/ipv4/conf/eth0/rp_filter", "1", "2", "rp_filter",
		  "sysctl -w net.ipv4.conf.eth0.rp_filter=2", FINDING_WARN },
		{ "/proc/sys/net/ipv4/conf/off0/rp_filter", "1", "0", NULL, NULL, FINDING_OK },
		{ "/proc/sys/net/ipv4/conf/all/rp_filter", "2", "0", NULL, NULL, FINDING_OK },
		{ "/proc/sys/net/ipv4/conf/all/src_valid_mark", "1", "0", "src_valid_mark",
		  "sysctl -w net.ipv4.conf.all.src_valid_mark=0", FINDING_FAIL },
		{ "/proc/sys/net/ipv4/conf/eth0/src_valid_mark", "1", "0", "src_valid_mark",
		  "sysctl -w net.ipv4.conf.eth0.src_valid_mark=0", FINDING_FAIL },
		{ "/proc/sys/net/bridge/bridge-nf-call-iptables", "1", "0", "br_netfilter",
		  "sysctl -w net.bridge.bridge-nf-call-iptables=0", FINDING_WARN },
		{ "/proc/sys/net/bridge/bridge-nf-call-ip6tables", "1", "0", "br_netfilter",
		  "sysctl -w net.bridge.bridge-nf-call-ip6tables=0", FINDING_WARN },
		{ "/proc/sys/net/ipv4/tcp_timestamps", "0", "1", "tcp_timestamps",
		  "sysctl -w net.ipv4.tcp_timestamps=1", FINDING_WARN },
		{ "/proc/sys/net/ipv4/tcp_early_demux", "1", "0", "early_demux",
		  "sysctl -w net.ipv4.tcp_early_demux=0", FINDING_WARN },
		{ "/proc/sys/net/netfilter/nf_conntrack_count", "950", "5", "conntrack",
		  "sysctl -w net.netfilter.nf_conntrack_max=2000", FINDING_WARN },
		{ "/proc/sys/net/netfilter/nf_conntrack_count", "1000", "5", "conntrack",
		  "sysctl -w net.netfilter.nf_conntrack_max=2000", FINDING_FAIL },
		{ "/proc/sys/net/ipv4/ip_local_reserved_ports", "7,50080", "50080,51080", "ports",
		  "sysctl -w net.ipv4.ip_local_reserved_ports=7,50080,51080", FINDING_WARN },
		{ "/proc/sys/net/ipv4/ip_local_reserved_ports", "", "50080,51080", "ports",
		  "sysctl -w net.ipv4.ip_local_reserved_ports=50080,51080", FINDING_WARN },
		{ "/proc/sys/net/ipv4/ip_local_port_range", "1024 50000", "1024 50000", NULL, NULL,
		  FINDING_OK },
	};
	struct bed *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put(b, cases[i].path, cases[i].bad);
		if (cases[i].check)
			expect(b, cases[i].check, cases[i].status, cases[i].cure);
		else
			expect_nothing(b);
		put(b, cases[i].path, cases[i].good);
		expect_nothing(b);
	}
}

/* rp_filter: the greater of the interface's own and "all". */
static void test_rp_filter_of_all(void **state)
{
	struct bed *b = *state;

	put(b, "/proc/sys/net/ipv4/conf/all/rp_filter", "1");
	put(b, "/proc/sys/net/ipv4/conf/br0/rp_filter", "2");
	expect(b, "rp_filter", FINDING_WARN, "conf.eth0.rp_filter=2");
}

static void test_process(void **state)
{
	struct bed *b = *state;

	put(b, "/proc/self/status", "CapEff:\t0000000000002000\n"); /* NET_RAW */
	expect_nothing(b);
	put(b, "/proc/sys/fs/pipe-user-pages-soft", "1024");
	expect(b, "pipes", FINDING_WARN, "sysctl -w fs.pipe-user-pages-soft=16384");
	put(b, "/proc/sys/fs/pipe-user-pages-soft", "16384");
	put(b, "/proc/sys/fs/pipe-max-size", "65536");
	expect(b, "pipes", FINDING_WARN, "sysctl -w fs.pipe-max-size=1048576");
	put(b, "/proc/self/status", "CapEff:\t0000003fffffffff\n");
	expect_nothing(b);
	put(b, "/proc/self/status", "CapEff:\t0000000001000000\n");
	expect(b, "capabilities", FINDING_FAIL, "setcap cap_net_raw");
	put(b, "/proc/self/status", "CapEff:\t0000003fffffffff\n");
	put(b, "/proc/self/limits", "Max open files            1024        1024       files\n");
	expect(b, "descriptors", FINDING_WARN, "ulimit -n 4096");
	put(b, "/proc/self/limits", "Max open files            1024        20000      files\n");
	expect_nothing(b);
	set_config(b,
		   "listeners: [ { mode: fixed, address: \"127.0.0.1:1\", to: \"127.0.0.1:2\" } ]\n"
		   "limits: { flows: 20000 }\n");
	expect(b, "descriptors", FINDING_WARN, "LimitNOFILE=45828");
}

static void test_run(void **state)
{
	struct bed *b = *state;

	config_free(b->config);
	b->config = NULL;
	b->host.run_asked = true;
	expect_nothing(b);
	b->host.run_said = (char *)"a user namespace was refused: why; cure: sysctl a.b=1";
	expect(b, "run", FINDING_FAIL, "sysctl a.b=1");
	assert_null(strstr(b->findings.all[0].text, "cure"));
	b->host.run_said = NULL;
	put(b, "/proc/sys/user/max_user_namespaces", "0");
	expect(b, "user-namespaces", FINDING_WARN, "sysctl user.max_user_namespaces=10000");
	put(b, "/proc/sys/user/max_user_namespaces", "10000");
	expect_nothing(b);
	b->host.has_nft = false;
	expect(b, "programs", FINDING_FAIL, "apt-get install nftables");
}

static void test_loopback_and_kernel(void **state)
{
	struct bed *b = *state;

	set_json(&b->host.links, "[{\"ifname\":\"lo\",\"flags\":[]}]");
	expect(b, "loopback", FINDING_FAIL, "ip link set lo up");
	set_json(&b->host.links, "[]");
	b->host.kernel_said = (char *)"Error: Could not process rule";
	expect(b, "kernel", FINDING_FAIL, "modprobe -a nft_tproxy");
}

static void test_policy_routing(void **state)
{
	struct bed *b = *state;

	set_json(&b->host.rules[HOST_V4], "[{\"priority\":0,\"src\":\"all\",\"table\":\"local\"}]");
	expect(b, "policy-routing", FINDING_FAIL, "ip rule add fwmark 0x1 lookup 27760");
	set_json(&b->host.rules[HOST_V4], rule_ours);
	set_json(&b->host.routes[HOST_V6], "[{\"dst\":\"default\",\"dev\":\"eth0\"}]");
	expect(b, "policy-routing", FINDING_FAIL, "ip -6 route add local default dev lo table 100");
	set_json(&b->host.routes[HOST_V6],
		 "[{\"dst\":\"10.0.0.0/8\",\"dev\":\"wg0\",\"table\":\"100\"}]");
	expect(b, "policy-routing", FINDING_FAIL,
	       "ip -6 rule add fwmark 0x1 lookup 27760 priority 99");
	set_json(&b->host.routes[HOST_V6], route_ours);
	expect_nothing(b);
	set_json(&b->host.rules[HOST_V4],
		 "[{\"priority\":32766,\"src\":\"all\",\"table\":\"main\"},"
		 "{\"priority\":40000,\"src\":\"all\",\"fwmark\":\"0x1\",\"table\":\"100\"}]");
	expect(b, "policy-routing", FINDING_FAIL, "priority 100");
	/* No answer: a negated rule, one with bits that the mark does not have, one for what this
	 * host sends, one that only jumps. */
	set_json(
		&b->host.rules[HOST_V4],
		"[{\"priority\":3,\"src\":\"all\",\"fwmark\":\"0x1\",\"iif\":\"lo\",\"table\":\"9\"},"
		"{\"priority\":4,\"src\":\"all\",\"fwmark\":\"0x1\",\"goto\":7},"
		"{\"priority\":5,\"src\":\"all\",\"fwmark\":\"0x1\",\"not\":null,\"table\":\"9\"},"
		"{\"priority\":6,\"src\":\"all\",\"fwmark\":\"0x2\",\"fwmask\":\"0x2\",\"table\":\"9\"},"
		"{\"priority\":7,\"src\":\"all\",\"fwmark\":\"0x1\",\"fwmask\":\"0xff\","
		"\"table\":\"100\"}]");
	expect_nothing(b);
	set_json(&b->host.rules[HOST_V4],
		 "[{\"priority\":6,\"src\":\"all\",\"fwmark\":\"0x4000\",\"fwmask\":\"0x4000\","
		 "\"table\":\"9\"},{\"priority\":7,\"src\":\"all\",\"fwmark\":\"0x1\","
		 "\"table\":\"100\"}]");
	expect(b, "policy-routing", FINDING_FAIL, "choose another firewall.mark in F");
}

static void test_default_route(void **state)
{
	struct bed *b = *state;
	static const char none[] =
		"[{\"type\":\"local\",\"dst\":\"default\",\"dev\":\"lo\",\"table\":\"100\"}]";

	set_json(&b->host.routes[HOST_V6], none);
	expect_nothing(b);
	set_json(&b->host.routes[HOST_V4], none);
	expect(b, "default-route", FINDING_WARN, "ip route add default");
}

/* What is found about the tunnels, whatever else is. */
static void expect_tunnel(struct bed *b, const char *firewall, enum finding_status status,
			  const char *cure)
{
	const struct finding *found = NULL;
	char text[1024];

	snprintf(text, sizeof(text),
		 "listeners: [ { name: l, mode: tproxy, address: \"127.0.0.1:50080\", "
		 "network: [tcp, udp] } ]\nrules: [ { name: all, action: accept } ]\n"
		 "firewall:\n%s",
		 firewall);
	set_config(b, text);
	examine(b);
	for (size_t i = 0; i < b->findings.n; i++)
		if (!strcmp(b->findings.all[i].check, "tunnels")) {
			assert_null(found);
			found = &b->findings.all[i];
		}
	if (!cure) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_int_equal(found->status, status);
	assert_string_equal(found->cure, cure);
}

#define ALL_LOCAL " intercept: [ { listener: l, traffic: [routed, local] } ]\n"
#define CURE(what) "add { traffic: local, network: udp, " what " } to firewall.exempt in F"

/* A kernel's WireGuard as ip(8) and wg(8) show it. */
static void test_wireguard(void **state)
{
	static const struct {
		const char *firewall, *cure;
		enum finding_status status;
	} cases[] = {
		{ ALL_LOCAL,
		  CURE("destination: [\"192.0.2.1\", \"192.0.2.2\"], port: [51820, 443]"),
		  FINDING_WARN },
		{ ALL_LOCAL " exempt: [ { destination: 192.0.2.1 }, { user: root } ]\n",
		  CURE("destination: [\"192.0.2.2\"], port: [443]"), FINDING_WARN },
		{ ALL_LOCAL " exempt: [ { destination: 192.0.2.1 }, { source: 192.0.2.0/24 } ]\n",
		  CURE("destination: [\"192.0.2.2\"], port: [443]"), FINDING_WARN },
		{ ALL_LOCAL " exempt: [ { network: tcp }, { port: [400-500, 51820] } ]\n", "",
		  FINDING_OK },
		{ ALL_LOCAL " exempt: [ { destination: 192.0.2.0/24, network: udp } ]\n", "",
		  FINDING_OK },
		{ " intercept: [ { listener: l, traffic: local, network: tcp } ]\n", "",
		  FINDING_OK },
		{ " intercept: [ { listener: l, user: root } ]\n", "", FINDING_OK },
		{ " intercept: [ { listener: l, traffic: local, port: [53, 80] } ]\n", "",
		  FINDING_OK },
		{ " intercept: [ { listener: l, traffic: local, interface: wg0 } ]\n", "",
		  FINDING_OK },
		{ " intercept: [ { listener: l } ]\n", NULL, FINDING_OK },
	};
	struct bed *b = *state;

	set_json(&b->host.links, "[{\"ifname\":\"wg0\",\"flags\":[\"UP\"],\"linkinfo\":"
				 "{\"info_kind\":\"wireguard\"}}]");
	b->host.wireguard = (char *)"wg0\tkey=\t192.0.2.1:51820\nwg0\tkey=\t(none)\n"
				    "wg0\tkey=\t192.0.2.2:443\nwg0\tkey=\t[2001:db8::1]:7\n"
				    "wg\tkey=\t192.0.2.9:9\n\n";
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect_tunnel(b, cases[i].firewall, cases[i].status, cases[i].cure);
	b->host.wireguard = NULL;
	expect_tunnel(b, ALL_LOCAL, FINDING_WARN, "apt-get install wireguard-tools");
	expect_tunnel(b, " intercept: [ { listener: l, traffic: local, network: tcp } ]\n",
		      FINDING_OK, NULL);
	b->host.wireguard = (char *)"";
	expect_tunnel(b, ALL_LOCAL, FINDING_OK, NULL);
}

static void test_overlays(void **state)
{
	struct bed *b = *state;

	set_json(&b->host.links,
		 "[{\"ifname\":\"vx0\",\"flags\":[],\"linkinfo\":{\"info_kind\":\"vxlan\","
		 "\"info_data\":{\"id\":7,\"remote\":\"192.0.2.1\",\"port\":4789}}}]");
	expect_tunnel(b, ALL_LOCAL, FINDING_WARN,
		      CURE("destination: [\"192.0.2.1\"], port: [4789]"));
	set_json(&b->host.links,
		 "[{\"ifname\":\"gnv0\",\"flags\":[],\"linkinfo\":{\"info_kind\":\"geneve\","
		 "\"info_data\":{\"external\":true,\"port\":6081}}}]");
	expect_tunnel(b, ALL_LOCAL, FINDING_WARN, CURE("port: [6081]"));
	expect_tunnel(b, ALL_LOCAL " exempt: [ { destination: 192.0.2.1 } ]\n", FINDING_WARN,
		      CURE("port: [6081]"));
	expect_tunnel(b, ALL_LOCAL " exempt: [ { port: 6081 } ]\n", FINDING_OK, "");
}

static void test_rule_text(void **state)
{
	struct bed *b = *state;
	char text[256];

	assert_string_equal(host_rule_text(&b->host, "inet", "l", 5, text, sizeof(text)),
			    "tcp dport 80 comment \" # handle 7\" accept");
	assert_string_equal(host_rule_text(&b->host, "inet", "l", 7, text, sizeof(text)), "");
	assert_string_equal(host_rule_text(&b->host, "inet", "l", 9, text, sizeof(text)), "");
	assert_string_equal(host_rule_text(&b->host, "inet", "other", 4, text, sizeof(text)),
			    "udp dport 1 accept");
	assert_string_equal(host_rule_text(&b->host, "ip", "l", 4, text, sizeof(text)), "");
	assert_string_equal(host_rule_text(&b->host, "inet", "l", 4, text, 10), "");
}

static void test_print(void **state)
{
	struct bed *b = *state;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	json_t *j;

	set_json(&b->host.links, "[{\"ifname\":\"lo\",\"flags\":[]}]");
	examine(b);
	findings_print(&b->findings, false, f);
	fclose(f);
	assert_string_equal(text, "fail  loopback         lo: down: what is diverted to this host "
				  "goes through it -> ip link set lo up\n");
	free(text);
	f = open_memstream(&text, &len);
	findings_print_json(&b->findings, true, f);
	fclose(f);
	j = json_of(text);
	assert_int_equal(json_array_size(j), b->findings.n);
	json_decref(j);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_healthy),	   TEST(test_settings),	     TEST(test_rp_filter_of_all),
		TEST(test_process),	   TEST(test_run),	     TEST(test_loopback_and_kernel),
		TEST(test_policy_routing), TEST(test_default_route), TEST(test_rule_text),
		TEST(test_wireguard),	   TEST(test_overlays),	     TEST(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
