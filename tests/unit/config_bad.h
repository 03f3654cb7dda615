/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_CONFIG_BAD_H
#define UNIT_CONFIG_BAD_H

/* What config_test.c tries of the keys tls and dialers. */
struct bad {
	const char *text;
	const char *said; /* the beginning of one of the lines, up to its word or further */
};

#define ONE "listeners: [{ mode: tproxy, address: \"127.0.0.1:1\" }]\n"

#define SOCKS "listeners: [{ mode: socks, address: \"127.0.0.1:1\" }]\n"

#define DIALER(more) ONE "dialers: { a: { type: http, address: \"1.1.1.1:1\"" more " } }\n"

#define BEHIND(name, via) \
	" " name ": { type: http, address: \"1.1.1.1:1\", via: " via " },\n"

static const struct bad dialers[] = {
	{ ONE "dialers: { a: { type: http } }\n", "c:2:15: this key is missing: 'address'" },
	{ ONE "dialers: { a: { type: ftp, address: \"1.1.1.1:1\" } }\n",
	  "c:2:23: not accepted here: 'ftp'; accepted: socks5, http, https" },
	{ ONE "dialers: { a: { type: http, address: \"1.1.1.1\" } }\n",
	  "c:2:38: neither ip:port nor name:port: '1.1.1.1'" },
	{ DIALER(", via: a"), "c:2:56: a circle, or more than 8 dialers" },
	{ ONE "dialers: { a: { type: http, address: \"1.1.1.1:1\" },\n" BEHIND("b", "a")
	  BEHIND("c", "b") BEHIND("d", "c") BEHIND("e", "d") BEHIND("f", "e") BEHIND("g", "f")
	  BEHIND("h", "g") BEHIND("i", "h") " }\n",
	  "c:10:46: a circle, or more than 8 dialers one behind the other: 'h'" },
	{ DIALER(", via: b"), "c:2:56: there is no such dialer: 'b'; accepted: a" },
	{ DIALER(", user: u"), "c:2:15: user and password go together: 'password'" },
	{ DIALER(", password: u"), "c:2:15: user and password go together: 'user'" },
	{ DIALER(", user: \"a:b\", password: u"), "c:2:57: no user: 'a:b'" },
	{ DIALER(", user: a, password: u, password-file: x"),
	  "c:2:73: there is a password already: 'password-file'" },
	{ DIALER(", user: a, password-file: /nowhere"), "c:2:75: cannot be read: No such file" },
	{ DIALER(", tls: { verify: true }"), "c:2:51: without effect for this type: 'tls'" },
	{ ONE "dialers: { a: { type: https, address: \"a.b:1\", tls: { ca: /nowhere } } }\n",
	  "c:2:59: cannot be read: No such file or directory: '/nowhere'" },
	{ ONE "dialers: { a: { type: https, address: \"a.b:1\", tls: { name: a b } } }\n",
	  "c:2:61: neither of these: 'a b'; accepted: a name or an address" },
	{ ONE "rules: [{ name: a, action: accept, via: b }]\n",
	  "c:2:41: there is no such dialer: 'b'" },
	{ DIALER("") "rules: [{ name: a, action: deny, via: a }]\n",
	  "c:3:34: without effect where the action is deny: 'via'" },
	{ ONE "rules: [{ name: a, action: accept, bind: true }]\n",
	  "c:2:36: without effect: the rule's listeners do not speak SOCKS: 'bind'" },
	{ SOCKS "rules: [{ name: a, action: deny, bind: true }]\n",
	  "c:2:34: without effect where the action is deny: 'bind'" },
	{ SOCKS "dialers: { u: { type: http, address: \"1.1.1.1:1\" } }\n"
		"rules: [{ name: a, action: accept, via: u, bind: true }]\n",
	  "c:3:44: without effect where there is via: 'bind'" },
};

static const struct bad tls[] = {
	{ "listeners: [{ mode: https, address: \"1.1.1.1:1\" }]\n",
	  "c:1:13: this key is missing for mode https: 'tls'; accepted: name of an entry" },
	{ "listeners: [{ mode: fixed, address: \"1.1.1.1:1\", to: \"1.1.1.1:2\", tls: front }]\n",
	  "c:1:72: there is no such entry of tls: 'front'" },
	{ ONE "tls: { a: { certificate: x } }\n", "c:2:11: this key is missing: 'key'" },
	{ ONE "tls: { a: { certificate: /nowhere, key: /nowhere } }\n",
	  "c:2:26: cannot be read: No such file or directory: '/nowhere'" },
	{ ONE "tls: { a: { certificate: /dev/null, key: /nowhere } }\n",
	  "c:2:42: cannot be read: No such file or directory: '/nowhere'" },
	{ ONE "tls: { a: { certificate: /dev/null, key: /dev/null } }\n",
	  "c:2:26: holds no certificate that can be used: '/dev/null'" },
	{ ONE "tls: { a: { certificate: a, key: b, min-version: 1.1 } }\n",
	  "c:2:50: not accepted here (perhaps '1.2'): '1.1'; accepted: 1.2, 1.3" },
	{ "listeners: [{ mode: tproxy, address: \"1.1.1.1:1\", tls: a }]\n",
	  "c:1:51: without effect for mode tproxy: its clients speak with the server: 'tls'" },
};

#endif
