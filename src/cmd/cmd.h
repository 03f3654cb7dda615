/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

/*
 * One function per verb, in the file of its name.  argv[0] is the verb.
 * Return: the exit status: 0 done, 1 failed, 2 wrong usage (run: the command's own).
 */
int cmd_check(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_users(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_firewall(int argc, char **argv);
int cmd_run(int argc, char **argv);

#endif
