# SPDX-License-Identifier: Apache-2.0
"""The life of a command under `limpid run`: its status, its signals, what is left when limpid is
killed, job control on a terminal, and what a host that refuses is told."""
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios

import pytest

from host import REMOTE
from lab.limpid import check_stderr, sanitized
from lab.sock import eventually
from test_run import WAITS, python, terminal  # noqa: F401  pylint: disable=unused-import


# --- status -----------------------------------------------------------------------------------
@pytest.mark.parametrize("command, status, words", [
    ("./no-such-file", 127, "No such file or directory"),
    ("/dev/null/file", 127, "Not a directory"), ("/etc", 126, "Permission denied")])
def test_what_cannot_be_run(host, user, command, status, words):
    """As sh(1) has it."""
    done = host.run(user, command)
    assert (done.returncode, done.stderr) == (status, f"limpid: {command}: {words}\n")


def test_folder_of_path_without_access_is_no_find(host, folder):
    """Else every misspelt command would be "Permission denied"."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700, exist_ok=True)
    done = host.run("nobody", "no-such-command", before=["env", f"PATH={closed}:/usr/bin:/bin"])
    assert done.returncode == 127
    assert done.stderr == "limpid: no-such-command: command not found\n"


def test_fault_of_the_command(host, user):
    assert host.run(user, "sh", "-c", "ulimit -c 0; kill -SEGV $$").returncode == 139


@pytest.mark.parametrize("before", [
    [], ["env", "--ignore-signal=CHLD"], ["env", "--ignore-signal=HUP", "--ignore-signal=INT"],
    ["env", "--block-signal=CHLD", "--block-signal=TERM"],
    ["env", "--block-signal=USR1", "--ignore-signal=PIPE"]], ids=" ".join)
def test_masks_and_dispositions_pass_unchanged(host, user, before):
    def signals(text):
        return re.findall(r"^Sig(?:Ign|Blk|Cgt):.*", text, re.M)
    without = host.ns.run(*before, "cat", "/proc/self/status")
    done = host.run(user, "cat", "/proc/self/status", before=before)
    assert signals(done.stdout) == signals(without)
    assert done.returncode == 0   # although an ignored SIGCHLD takes statuses away


# --- signals ----------------------------------------------------------------------------------
class Started:
    """A command that says line by line what happens to it, in a session of its own."""

    def __init__(self, host, user, path, *command):
        self.path = path
        with open(path, "wb") as err:
            self.limpid = host.popen(user, *command, stdin=subprocess.PIPE, stderr=err,
                                     stdout=subprocess.PIPE, text=True, start_new_session=True)

    def line(self):
        return self.limpid.stdout.readline().rstrip("\n")

    def say(self, line):
        self.limpid.stdin.write(line + "\n")
        self.limpid.stdin.flush()

    def close(self):
        if self.limpid.poll() is None:
            self.limpid.kill()
        self.limpid.stdin.close()
        self.limpid.stdout.read()   # its end: the command has gone, too
        self.limpid.stdout.close()
        self.limpid.wait()
        check_stderr(self.path.read_text(encoding="utf-8"))


@pytest.fixture
def start(host, user, tmp_path):
    started = []

    def begin(*command):
        started.append(Started(host, user, tmp_path / "stderr", *command))
        return started[-1]
    yield begin
    for s in started:
        s.close()


# Says each signal; obeys lines: raise it to the whole group, or end.
LISTENER = WAITS + """
for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH"):
	signal.signal(getattr(signal, "SIG" + name), lambda *_: None)
os.write(1, b"%d\\n" % os.getpid())
while (words := line(lambda number: os.write(1, b"%d\\n" % number)).split())[0] != b"end":
	os.kill(0, int(words[1]))
os.write(1, b"end\\n")
"""


@pytest.fixture
def listener(start):
    s = start(*python(LISTENER))
    s.pid = int(s.line())
    return s


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "USR2", "WINCH"])
def test_signal_to_limpid_reaches_the_command_once(listener, name):
    number = getattr(signal, f"SIG{name}")
    listener.limpid.send_signal(number)
    assert listener.line() == str(int(number))
    listener.say("end")
    assert listener.line() == "end"
    assert listener.limpid.wait(20) == 0


@pytest.mark.parametrize("name", ["INT", "QUIT", "TSTP"])
def test_what_only_a_terminal_sends_is_not_passed_on(listener, name):
    """A terminal has told the command itself; limpid neither ends nor stops by it."""
    listener.limpid.send_signal(getattr(signal, f"SIG{name}"))
    listener.limpid.send_signal(signal.SIGWINCH)
    assert listener.line() == str(int(signal.SIGWINCH))
    listener.say("end")
    assert listener.line() == "end"
    assert listener.limpid.wait(20) == 0


def test_command_signals_its_group(listener):
    """limpid is in that group and must not send it back.  (USR1 is taken up before WINCH.)"""
    listener.say(f"raise {int(signal.SIGUSR1)}")
    assert listener.line() == str(int(signal.SIGUSR1))
    listener.limpid.send_signal(signal.SIGWINCH)
    assert listener.line() == str(int(signal.SIGWINCH))
    listener.say("end")
    assert listener.line() == "end"
    assert listener.limpid.wait(20) == 0


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def test_stopped_command_stops_limpid(listener):
    """Whoever waits for limpid sees the stop; continuing limpid continues the command."""
    os.kill(listener.pid, signal.SIGSTOP)
    pid, status = os.waitpid(listener.limpid.pid, os.WUNTRACED)
    assert pid and os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP
    assert state(listener.pid) == "T"
    listener.limpid.send_signal(signal.SIGCONT)
    listener.say("end")
    assert listener.line() == "end"
    assert listener.limpid.wait(20) == 0


# --- what stays behind ------------------------------------------------------------------------
# Refused or unanswered; a moment is enough to get out if there were a way.
SURVIVOR = """
import os, socket, sys
ready, told = os.pipe()
if os.fork():
	os.read(ready, 1)
	os.write(1, b"up\\n")
	if sys.argv[1] == "killed": os.read(ready, 1) # for ever
	os._exit(0)
os.write(told, b"x")
sys.stdin.readline()
for ip in sys.argv[2:]:
	s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
	s.settimeout(0.3)
	try: s.connect((ip, 80)); print(ip, "got out")
	except OSError: pass
print("nowhere", flush=True)
"""


@pytest.mark.parametrize("end", ["orderly", "killed"])
def test_what_outlives_limpid_gets_nowhere(host, start, end):
    """A background process of the command is not waited for, and not let out uninspected."""
    s = start(*python(SURVIVOR, end, REMOTE[4], REMOTE[6]))
    assert s.line() == "up"
    if end == "killed":
        s.limpid.kill()
    s.limpid.wait(20)
    eventually(lambda: not host.processes(), "limpid's processes are gone")
    s.say("go")
    assert s.line() == "nowhere"


def test_killed_limpid_takes_the_command_along(host, listener):
    listener.limpid.kill()
    listener.limpid.wait(20)
    assert listener.line() == ""   # the end: nobody holds the pipe
    eventually(lambda: not host.processes(), "limpid's processes are gone")


# --- terminals --------------------------------------------------------------------------------
def test_quit(terminal):  # noqa: F811
    terminal.start("ulimit -c 0; echo up; exec sleep 1005")
    terminal.wait("up")
    terminal.type("\x1c")
    assert terminal.status() == 131


def test_running_in_the_background(host, user, terminal):  # noqa: F811
    """^Z, bg: it runs; when it reads, it stops; fg."""
    go = host.folder / user / "go"
    # Not a loop of sh(1): dash starts programs by vfork(2), and ^Z within that stops nothing.
    terminal.start("""exec /usr/bin/python3 -I -c '
import os, sys, time
os.write(1, b"up\\n")
while not os.path.exists("go"): time.sleep(0.01)
os.write(1, b"seen\\n")
sys.stdin.readline()
sys.exit(8)
'""")
    terminal.wait("up")
    terminal.type("\x1a")
    terminal.wait("Stopped")
    terminal.type("bg\n")
    terminal.until("jobs", "Running")
    go.touch()
    terminal.wait("seen")
    terminal.until("jobs", "Stopped")
    terminal.type("fg\n")
    terminal.wait("run")
    terminal.type("line\n")
    assert terminal.status() == 8
    go.unlink()


@pytest.mark.parametrize("whom", ["itself", "group"])
def test_editor_that_suspends_itself(terminal, whom):  # noqa: F811
    """It catches ^Z, restores the screen, and stops later on its own."""
    terminal.start(f"""exec /usr/bin/python3 -I -c '
{WAITS}
def suspend(*_):
	os.write(1, b"tidy\\n")
	os.kill({"0" if whom == "group" else "os.getpid()"}, signal.SIGSTOP)
	os.write(1, b"back\\n")
signal.signal(signal.SIGTSTP, suspend)
os.write(1, b"up\\n")
sys.exit(int(line(lambda _: None)))
'""")
    terminal.wait("up")
    terminal.type("\x1a")
    terminal.wait("tidy")
    terminal.wait("Stopped")
    terminal.type("fg\n")
    terminal.wait("back")
    terminal.type("9\n")
    assert terminal.status() == 9


def test_shell_with_jobs_inside(terminal):  # noqa: F811
    """The command moves the terminal between groups of its own; limpid is in none of them."""
    terminal.start("exec bash --norc --noprofile --noediting -i")
    terminal.type("sh -c 'echo in''ner; read x; echo got-$x; exec sleep 1006'\n")
    terminal.wait("inner")
    terminal.type("\x1a")
    terminal.wait("Stopped")
    terminal.type("fg\n")
    terminal.type("line\n")
    terminal.wait("got-line")
    terminal.type("\x03")
    assert terminal.status() == 130
    terminal.type("exit 5\n")
    assert terminal.status() == 5


def test_resized_terminal(terminal):  # noqa: F811
    """The command learns it from the terminal, and not once more from limpid."""
    terminal.start(f"""exec /usr/bin/python3 -I -c '
{WAITS}
times = []
def resized(_):
	size = os.get_terminal_size(0)
	times.append(size)
	os.write(1, b"size=%d %d\\n" % (size.lines, size.columns))
signal.signal(signal.SIGWINCH, lambda *_: None)
os.write(1, b"up\\n")
line(resized)
os.write(1, b"times=%d\\n" % len(times))
sys.exit(3)
'""")
    terminal.wait("up")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    terminal.wait("size=33 77")
    terminal.type("go\n")
    terminal.wait("times=1")
    assert terminal.status() == 3


def test_hangup(host, user, terminal):  # noqa: F811
    """The terminal goes away: the command is told, and limpid ends with it."""
    told = host.folder / user / "told"
    terminal.start("trap 'echo hup > told; exit 1' HUP; echo up; while :; do sleep 1; done")
    terminal.wait("up")
    os.close(terminal.fd)
    terminal.fd = os.open(os.devnull, os.O_RDWR)
    eventually(lambda: not host.processes(), "limpid's processes are gone")
    assert told.read_text(encoding="ascii") == "hup\n"
    told.unlink()


# --- hosts that refuse ------------------------------------------------------------------------
@pytest.fixture
def refused(host, tmp_path):
    """refused(user, script, words): one line with these words, status 1, nothing was run.

    The script makes the host what it shall be; its last line is 'exec "$@"', which is limpid.
    """
    def check(user, script, *words, unshare="-m"):
        witness = host.folder / user / "ran"
        before = ["unshare", *unshare.split(), "sh", "-c", script, "sh"]
        done = host.run(user, "touch", str(witness), before=before)
        assert done.returncode == 1
        assert done.stderr.startswith("limpid run: ") and done.stderr.count("\n") == 1
        assert [w for w in words if w not in done.stderr] == [], done.stderr
        assert not witness.exists()
    return check


WITHOUT_RIGHTS = 'exec setpriv --bounding-set=-sys_admin "$@"'


def test_no_user_namespaces(refused):
    refused("root", f"echo 0 > /proc/sys/user/max_user_namespaces; {WITHOUT_RIGHTS}",
            "a user namespace was refused: ", "cure: sysctl user.max_user_namespaces=",
            unshare="-U -r")


@pytest.mark.parametrize("then", [
    pytest.param('exec "$@"', id="root"),
    pytest.param(WITHOUT_RIGHTS, id="nobody")])
def test_no_network_namespaces(refused, then):
    refused("root", f"echo 0 > /proc/sys/user/max_net_namespaces; {then}",
            "a network namespace was refused: ", "cure: sysctl user.max_net_namespaces=",
            unshare="-U -r")


def test_root_that_may_not_map_itself(refused):
    refused("root", 'exec setpriv --bounding-set=-all "$@"', "uid_map was refused: ")


@pytest.mark.parametrize("name, value, words", [
    ("nothing", 0, "a chroot may forbid them"),
    ("unprivileged_userns_clone", 0, "cure: sysctl kernel.unprivileged_userns_clone=1"),
    ("apparmor_restrict_unprivileged_userns", 1, "AppArmor restricts them: ")])
def test_which_switch_forbids(refused, tmp_path, name, value, words):
    """A chroot refuses like the switches of distributions do; these are played by files."""
    refused("nobody", f"mount --rbind / {tmp_path}; "
                      f"mount -t tmpfs none {tmp_path}/proc/sys/kernel; "
                      f"echo {value} > {tmp_path}/proc/sys/kernel/{name}; "
                      f'exec /usr/sbin/chroot {tmp_path} "$@"',
            "a user namespace was refused: ", words)


WITHOUT_PROC = 'mount -t tmpfs none /proc; exec "$@"'


@pytest.fixture
def no_proc():
    if sanitized():
        pytest.skip("the leak sanitizer itself needs /proc")


@pytest.mark.usefixtures("no_proc")
def test_no_proc(refused):
    refused("nobody", WITHOUT_PROC,
            "/proc is not mounted here; cure: mount -t proc proc /proc")


@pytest.mark.usefixtures("no_proc")
def test_root_needs_no_proc(host):
    before = ["unshare", "-m", "sh", "-c", WITHOUT_PROC, "sh"]
    assert host.run("root", "echo", "fine", before=before).stdout == "fine\n"


def test_no_nft(refused, user, tmp_path):
    (tmp_path / "nft").touch()
    refused(user, f'mount --bind {tmp_path}/nft /usr/sbin/nft; exec "$@"',
            "nft was not found", "cure: install the package nftables")


@pytest.mark.parametrize("text, words", [
    ("#!/bin/sh\necho 'Error: Could not process rule: No such file or directory' >&2\nexit 1\n",
     "nft rules were refused (the kernel needs nf_tables with nft_tproxy and nft_socket): "
     "Error: Could not process rule: No such file or directory"),
    ("#!/bin/sh\nprintf 'a \\033[31m line\\nand more\\n' >&2\nexit 1\n", r"a \x1b[31m line"),
    ("#!/bin/sh\nkill -9 $$\n", "nft gave no reason"),
    ("\0no program\n", "the program nft cannot be run: Exec format error")],
    ids=["kernel", "escapes", "killed", "no-program"])
def test_nft_that_fails(host, refused, user, text, words):
    nft = host.folder / "bin" / "nft"
    nft.parent.mkdir(exist_ok=True)
    nft.write_text(text, encoding="ascii")
    nft.chmod(0o755)
    refused(user, f'PATH={nft.parent}:$PATH; exec "$@"', words)


def test_too_few_descriptors(refused, user):
    refused(user, 'ulimit -n 8; exec "$@"', "was refused in the new network namespace: "
                                            "Too many open files")
