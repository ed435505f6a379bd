#!/usr/bin/env python3
"""Judges `dhole launch`: what ranks are told, what comes of their output, input and exit codes, and
that nothing is left behind, whatever is killed. Other hosts are network namespaces of this
machine, each with an sshd of its own (root, on Linux).

    launch.py --dhole PROGRAM [--launched PROGRAM] [--only TEXT]

--launched is the program of ranks.c, by default the one beside dhole.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pty
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time

from capture import Capture, isolate
from harness import Dhole, Skip, Suite, check, session, wait_until

DONE, FAILED, USAGE, LOST, BAD_FILE, TIMEOUT, CANNOT_RUN, NOT_FOUND = 0, 1, 2, 3, 5, 124, 126, 127
RANKS_MAX = 64
GRACE = 5  # seconds between SIGTERM and SIGKILL
SOON = 4   # seconds in which all that is left must be gone
SILENCE = 20  # and when a host has been cut off
OTHERS = set()  # folders of jobs that are not ours

ONE_IS_7 = "test $DHOLE_RANK = 1 && exit 7; exec sleep 100"


def shell(script):
    return "--", "sh", "-c", script


def sentence(ended, code, *words):
    check(ended.code == code, f"expected exit code {code}: {ended}")
    text = ended.err.decode(errors="replace")
    check("dhole" in text and text.count("\n") <= 6, f"not a sentence: {text!r}")
    for word in words:
        check(word in text, f"{word!r} is not in {text!r}")


def lines(ended, code=DONE):
    check(ended.code == code, f"expected exit code {code}: {ended}")
    return ended.out.decode().splitlines()


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def with_word(word):
    """The live processes with that word in their command line."""
    return [pid for pid in processes() if word.encode() in b" ".join(command_line(pid))]


def files_of_launcher():
    """The folders of jobs of this test, and on other hosts of any."""
    folders = {os.environ.get("XDG_RUNTIME_DIR") or "/tmp", tempfile.gettempdir(), "/tmp"}
    return {os.path.join(folder, name) for folder in filter(os.path.isdir, folders)
            for name in os.listdir(folder) if name.startswith("dhole-") and len(name) >= 38} - OTHERS


class Sleepers:
    """Processes that sleep for a time which is theirs alone, and so can be found anywhere."""

    def __init__(self):
        self.time = f"1{secrets.randbelow(10**8):08d}"

    def pids(self):
        return [pid for pid in processes() if command_line(pid)[:2] == [b"sleep", self.time.encode()]]

    def wait_for(self, count):
        check(wait_until(lambda: len(self.pids()) == count, 15),
              f"{len(self.pids())} of {count} processes started")

    def gone(self, seconds=SOON):
        return wait_until(lambda: not self.pids(), seconds)


@contextlib.contextmanager
def started(dhole, *args, **popen):
    """A launch, of which nothing is left after the block."""
    process = dhole.start("launch", *args, **{"stdin": subprocess.DEVNULL, **popen})
    try:
        yield process
    finally:
        for member in session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        process.communicate()


def end(process, seconds=SOON + GRACE):
    """Its exit code and stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"still running after {seconds} s")
    return process.returncode, (err or b"").decode(errors="replace")


# --- the command line ---------------------------------------------------------------------------

BAD_OPTIONS = [
    (["-n", value], value) for value in ("0", "-1", "65", "two", "")
] + [
    (["--starting-port", value], value) for value in ("0", "65536", "http", "-5")
] + [
    (["--connections-per-ip", value], value) for value in ("0", "17", "x")
] + [
    (["--timeout", value], value) for value in ("0", "-1", "soon", "nan", "inf")
] + [
    (["--env", value], value) for value in ("NAME", "=value", "1A=b", "A-B=c", "A B=c", "")
] + [
    (["--seal", value], value) for value in ("yes", "ON", "")
] + [
    (["--seal", "on", "--env", "DHOLE_SEAL=off"], "--env DHOLE_SEAL=off"),
    (["--backend", "gloo"], "gloo"),
    (["--frob"], "--frob"),
    (["-x"], "-x"),
    (["--hosts", "a", "--hostfile", "b"], "--hostfile"),
    (["--hosts", "a,,b"], "hosts[1]"),
    (["--hosts", "-oProxyCommand=x"], "hosts[0]"),
    (["--hosts", "a;b"], "hosts[0]"),
    (["--hosts", "user@"], "hosts[0]"),
] + [
    ([option], option) for option in ("--hosts", "--hostfile", "-n", "--backend", "--env", "--seal", "--cwd")
]


def usage_errors(dhole):
    for arguments, quoted in BAD_OPTIONS:
        option_alone = len(arguments) == 1
        ended = dhole.run("launch", *arguments, *(() if option_alone else ("true",)))
        sentence(ended, USAGE, quoted)
        check(ended.out == b"", f"text on stdout: {ended}")
    sentence(dhole.run("launch"), USAGE, "PROGRAM")
    sentence(dhole.run("launch", "-n", "2", "--"), USAGE, "PROGRAM")


def help_has_examples(dhole):
    for command in (["help", "launch"], ["launch", "--help"], ["launch", "-n", "2", "-h"]):
        ended = dhole.run(*command)
        check(ended.code == DONE and b"Examples:" in ended.out and not ended.err, str(ended))
        for option in ("-n", "--hosts", "--hostfile", "--backend", "--env", "--seal", "--cwd",
                       "--timeout", "--starting-port", "--connections-per-ip", "--verbose", "--no-prefix"):
            check(option in ended.out.decode(), f"{option} is not in the help")


HOSTILE = [
    ("", "line"), ("[", "line"), ("[]", "list of hosts"), ("{}", "list of hosts"),
    ("null", "line"), ('{"hosts": []}', "list of hosts"),
    ('{"hosts": {}}', "list of hosts"), ('[1]', "hosts[0]"), ('["a"]', "hosts[0]"),
    ('[{"ips": ["10.0.0.1"]}]', "hosts[0]"), ('[{"ssh": 1}]', "hosts[0]"),
    ('[{"ssh": ""}]', "hosts[0]"), ('[{"ssh": "-oProxyCommand=touch x"}]', "hosts[0]"),
    ('[{"ssh": "a b"}]', "hosts[0]"), ('[{"ssh": "$(touch x)"}]', "hosts[0]"),
    ('[{"ssh": "localhost"}, {"ssh": "a\\nb"}]', "hosts[1]"), ('[{"ssh": "a\\u0000b"}]', ""),
    ('[{"ssh": "localhost", "ips": "10.0.0.1"}]', "ips"),
    ('[{"ssh": "localhost", "ips": [1]}]', "ips"), ('[{"ssh": "localhost", "ips": ["a b"]}]', "ips"),
    ('[{"ssh": "localhost", "rdma": 1}]', "rdma"),
    ('[{"ssh": "localhost", "rdma": [1]}]', "rdma"),
    ('[{"ssh": "localhost", "rdma": [[null]]}]', "rdma"),
    ('{"hosts": [{"ssh": "localhost"}], "backend": "x"}', "backend"),
    ('{"hosts": [{"ssh": "localhost"}], "backend": 1}', "backend"),
    ('{"hosts": [{"ssh": "localhost"}], "envs": "A=b"}', "envs"),
    ('{"hosts": [{"ssh": "localhost"}], "envs": ["A"]}', "envs[0]"),
    ('{"hosts": [{"ssh": "localhost"}], "envs": ["A=b", 1]}', "envs[1]"),
    ("[" + ",".join(['{"ssh": "localhost"}'] * 65) + "]", "64"),
    ("[" * 100000, "line"), ("\xff\xfe", "line"),
]


def bad_host_files(dhole, folder):
    path = os.path.join(folder, "hosts.json")
    for text, quoted in HOSTILE:
        with open(path, "w", encoding="latin-1") as file:
            file.write(text)
        sentence(dhole.run("launch", "--hostfile", path, "true"), BAD_FILE, "hosts.json", quoted)
    sentence(dhole.run("launch", "--hostfile", folder + "/none", "true"), BAD_FILE, "/none")
    check(not os.path.exists(os.path.join(folder, "x")), "a host's name was executed")


# --- what ranks are told --------------------------------------------------------------------------

def environment(dhole, *args, env=None, code=DONE):
    """That of each rank, and the text of its host file."""
    script = "import json, os; e = dict(os.environ); p = e.get('DHOLE_HOSTFILE'); " \
             "e['file'] = json.load(open(p)) if p else None; e['cwd'] = os.getcwd(); " \
             "d = e.get('MLX_IBV_DEVICES'); e['devices'] = json.load(open(d)) if d else None; " \
             "e['modes'] = [oct(os.stat(x).st_mode & 0o777) for x in (p, os.path.dirname(p))] if p " \
             "else []; print(json.dumps(e))"
    ended = dhole.run("launch", *args, "--", sys.executable, "-c", script,
                      env={**dhole.env, **(env or {})})
    found = {}
    for line in lines(ended, code):
        rank, _, text = line.partition("] ")
        found[int(rank[1:])] = json.loads(text)
    return [found[rank] for rank in range(len(found))]


def variables_of_ranks(dhole):
    other = {"MLX_RANK": "9", "MLX_WORLD_SIZE": "9", "JACCL_RANK": "9", "DHOLE_COORDINATOR": "a:1",
             "MLX_IBV_DEVICES": "/none", "NCCL_PORT": "1", "DHOLE_BACKEND": "none", "KEPT": "yes"}
    ranks = environment(dhole, "-n", "3", "--env", "A=b c'\"$x", "--env", "B=", env=other)
    check(len(ranks) == 3, f"{len(ranks)} ranks")
    for rank, e in enumerate(ranks):
        check(e["DHOLE_RANK"] == e["MLX_RANK"] == str(rank) and e["DHOLE_SIZE"] == "3", str(e))
        check(e["DHOLE_HOSTFILE"] == e["MLX_HOSTFILE"], "two host files")
        check(e["A"] == "b c'\"$x" and e["B"] == "" and e["KEPT"] == "yes", "--env")
        check(e["modes"] == ["0o600", "0o700"], f"modes {e['modes']}")
        for name in set(other) - {"MLX_RANK", "KEPT"}:
            check(name not in e, f"{name} is inherited")
        hosts = [host.rpartition(":")[0] for (host,) in e["file"]]
        ports = {host.rpartition(":")[2] for (host,) in e["file"]}
        check(hosts == ["127.0.0.1"] * 3 and len(ports) == 3, f"addresses {e['file']}")
    check(not os.path.exists(ranks[0]["DHOLE_HOSTFILE"]), "the host file is still there")
    check(not os.path.exists(os.path.dirname(ranks[0]["DHOLE_HOSTFILE"])), "its folder too")


def addresses_of_ranks(dhole, folder):
    (one,) = environment(dhole, "--starting-port", "20100", "--verbose")
    check(one["file"] == [["127.0.0.1:20100"]] and "MLX_HOSTFILE" not in one, str(one["file"]))
    two = environment(dhole, "-n2", "-p20100", "--connections-per-ip", "2")[1]["file"]
    check(two == [["127.0.0.1:20100", "127.0.0.1:20101"], ["127.0.0.1:20102", "127.0.0.1:20103"]],
          str(two))
    path = os.path.join(folder, "ips.json")
    with open(path, "w") as file:
        json.dump({"backend": "ring", "envs": ["A=1", "B=2"], "hosts": [
            {"ssh": "localhost", "ips": ["127.0.0.1", "::1"], "rdma": [None]},
            {"ssh": "127.0.0.1", "ips": ["127.0.0.2", "localhost"]}]}, file)
    three = environment(dhole, "--hostfile", path, "--starting-port", "20100", "--env", "B=3")
    check(three[0]["file"] == [["127.0.0.1:20100", "[::1]:20101"],
                               ["127.0.0.2:20102", "localhost:20103"]], str(three[0]["file"]))
    check(all(e["A"] == "1" and e["B"] == "3" and e["DHOLE_BACKEND"] == "ring" for e in three), "envs")
    check(len(environment(dhole, "--hostfile", path, "--repeat-hosts", "2")) == 4, "repeated hosts")


def other_backends(dhole, folder):
    e = environment(dhole, "-n", "2", "--backend", "nccl", "--nccl-port", "7")[1]
    check((e["MLX_RANK"], e["MLX_WORLD_SIZE"], e["NCCL_HOST_IP"], e["NCCL_PORT"],
           e["CUDA_VISIBLE_DEVICES"]) == ("1", "2", "127.0.0.1", "7", "1"), str(e))
    check("MLX_HOSTFILE" not in e and "DHOLE_RANK" not in e, "variables of a ring")
    path = os.path.join(folder, "rdma.json")
    hosts = [{"ssh": "localhost", "ips": ["127.0.0.1"], "rdma": [None, ["rdma_en2", "rdma_en3"]]},
             {"ssh": "localhost", "rdma": ["rdma_en2", None]}]
    for backend in ("jaccl", "jaccl-ring"):
        with open(path, "w") as file:
            json.dump({"backend": backend, "hosts": hosts}, file)
        e = environment(dhole, "--hostfile", path)[1]
        check(e["MLX_RANK"] == "1" and e["MLX_JACCL_COORDINATOR"] == "127.0.0.1:32323", str(e))
        check(e["devices"] == [host["rdma"] for host in hosts], str(e["devices"]))
        check(e.get("MLX_JACCL_RING") == ("1" if backend == "jaccl-ring" else None), "ring")
        check("MLX_HOSTFILE" not in e, "variables of a ring")
    sentence(dhole.run("launch", "-n", "2", "--backend", "jaccl", "true"), FAILED, "rdma")


def folders(dhole, folder):
    check(environment(dhole)[0]["cwd"] == os.getcwd(), "the launcher's folder")
    odd = os.path.join(folder, "it's a \"földer\"")
    os.makedirs(odd, exist_ok=True)
    check(environment(dhole, "--cwd", odd)[0]["cwd"] == odd, "--cwd")
    sentence(dhole.run("launch", "-n", "2", "--cwd", folder + "/none", "true"), FAILED, "/none")


def ports_in_use(dhole):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence(dhole.run("launch", "-n", "3", "--starting-port", str(port - 1), "true"), FAILED,
                 str(port), "--starting-port")
    sentence(dhole.run("launch", "-n", "3", "--starting-port", "65534", "true"), FAILED, "65535")


# --- exit codes and ends --------------------------------------------------------------------------

def exit_codes(dhole):
    check(dhole.run("launch", "-n", "3", "true").code == DONE, "all end well")
    ended = dhole.run("launch", "-n", "3", *shell(ONE_IS_7))
    sentence(ended, 7, "rank 1", "code 7")
    check(ended.seconds < GRACE, f"the others took {ended.seconds:.1f} s to end")
    ended = dhole.run("launch", "-n", "3", *shell("test $DHOLE_RANK = 2 && kill -SEGV $$; sleep 100"))
    sentence(ended, 128 + signal.SIGSEGV, "rank 2", "signal 11")
    ended = dhole.run("launch", "-n", "2", *shell("test $DHOLE_RANK = 0 && exit 0; sleep 0.3; exit 3"))
    sentence(ended, 3, "rank 1")


def programs_that_cannot_run(dhole, folder):
    sentence(dhole.run("launch", "-n", "3", "no-such-program"), NOT_FOUND, "no-such-program",
             "No such file")
    sentence(dhole.run("launch", "-n", "3", "--", folder), CANNOT_RUN, "Permission denied")


def killed_rank(dhole):
    sleepers = Sleepers()
    with started(dhole, "-n", "3", "sleep", sleepers.time) as process:
        sleepers.wait_for(3)
        os.kill(sorted(sleepers.pids())[1], signal.SIGKILL)
        code, err = end(process)
        check(code == 128 + signal.SIGKILL and "rank 1" in err and "signal 9" in err, f"{code} {err}")
        check(sleepers.gone(), "processes are left")


def stubborn(dhole):
    """SIGTERM is not enough."""
    sleepers = Sleepers()
    script = f"test $DHOLE_RANK = 0 && exit 4; trap '' TERM; sleep {sleepers.time}; sleep {sleepers.time}"
    ended = dhole.run("launch", "-n", "3", *shell(script), timeout=GRACE + SOON)
    sentence(ended, 4, "rank 0")
    check(ended.seconds >= GRACE, f"{ended.seconds:.1f} s are no grace")
    check(sleepers.gone(0), "processes are left")


def stopped(dhole):
    sleepers = Sleepers()
    with started(dhole, "-n", "2", "sleep", sleepers.time) as process:
        sleepers.wait_for(2)
        first, second = sorted(sleepers.pids())
        os.kill(second, signal.SIGSTOP)
        os.kill(first, signal.SIGKILL)
        code, err = end(process)
        check(code == 137 and "rank 0" in err and sleepers.gone(0), f"{code} {err}")


def grandchildren(dhole):
    """Of ranks that end well, that fail, and those that have left the rank's session and group."""
    for kind, code in (("", 0), ("", 6), ("setsid ", 0), ("setsid ", 6)):
        sleepers = Sleepers()
        script = f"{kind}sleep {sleepers.time} & {kind}sh -c 'sleep {sleepers.time} & exit' ; exit {code}"
        ended = dhole.run("launch", "-n", "2", *shell(script), timeout=SOON)
        check(ended.code == code, str(ended))
        check(sleepers.gone(0), f"processes are left: {kind}{code}")


def timeouts(dhole):
    sleepers = Sleepers()
    ended = dhole.run("launch", "-n", "2", "--timeout", "0.5", "sleep", sleepers.time)
    sentence(ended, TIMEOUT, "--timeout")
    check(0.4 < ended.seconds < GRACE and sleepers.gone(0), str(ended))
    check(dhole.run("launch", "--timeout", "30", "true").code == DONE, "in time")


def interrupted(dhole):
    for number, handler in ((signal.SIGINT, ""), (signal.SIGTERM, ""), (signal.SIGHUP, ""),
                            (signal.SIGINT, "trap 'echo caught; exit 0' INT; ")):
        sleepers = Sleepers()
        script = f"{handler}sleep {sleepers.time} & wait; sleep 1"
        with started(dhole, "-n", "2", *shell(script)) as process:
            sleepers.wait_for(2)
            process.send_signal(number)
            out, err = process.communicate(timeout=SOON)
            check(process.returncode == 128 + number, f"{number}: {process.returncode} {err}")
            check(not handler or sorted(out.split(b"\n")) == [b"", b"[0] caught", b"[1] caught"], out)
            check(sleepers.gone(0), "processes are left")


def interrupted_twice(dhole):
    sleepers = Sleepers()
    with started(dhole, "-n", "2", *shell(f"trap '' INT; sleep {sleepers.time} & wait")) as process:
        sleepers.wait_for(2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two that come at once are one
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        code, err = end(process)
        check(code == 130 and time.monotonic() - start < GRACE - 1, f"{code} {err}")
        check(sleepers.gone(0), "processes are left")


def other_signals(dhole):
    script = "trap 'echo one; exit 0' USR1; echo ready; while :; do sleep 0.05; done"
    with started(dhole, "-n", "2", *shell(script)) as process:
        got = b""
        while got.count(b"ready\n") < 2:
            got += os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=SOON)
        check(process.returncode == DONE and out.count(b"one") == 2, f"{process.returncode} {out} {err}")


def killed_launcher(dhole):
    """With SIGKILL: the launcher, the process that watches over it, and both at once."""
    before = files_of_launcher()
    for kind in ("launcher", "guard", "both"):
        sleepers = Sleepers()
        script = f"setsid sleep {sleepers.time} & sleep {sleepers.time}; :"
        with started(dhole, "-n", "3", *shell(script if kind != "both" else
                                              f"exec sleep {sleepers.time}")) as process:
            sleepers.wait_for(3 if kind == "both" else 6)
            own = [pid for pid in processes() if b"launch" in command_line(pid)
                   and command_line(pid)[:1] == [os.fsencode(dhole.path)]
                   and sleepers.time.encode() in b" ".join(command_line(pid))]
            check(len(own) == 2 and process.pid in own, f"launchers {own}")
            for pid in own:
                if kind == "both" or (pid == process.pid) == (kind == "launcher"):
                    os.kill(pid, signal.SIGKILL)
            if kind == "guard":
                code, err = end(process)
                check(code == FAILED and "watches" in err, f"{code} {err}")
            check(sleepers.gone(), f"{kind}: processes are left")
            check(wait_until(lambda: len(session(process.pid)) <= (kind == "guard"), SOON), "left")
        if kind == "both":
            for name in files_of_launcher() - before:
                shutil.rmtree(name)
        check(wait_until(lambda: files_of_launcher() <= before, SOON), f"{kind}: files are left")


def killed_while_starting(dhole):
    """At any moment, from the first instruction to the last."""
    for i in range(40):
        sleepers = Sleepers()
        with started(dhole, "-n", "16", "sleep", sleepers.time) as process:
            time.sleep(i * 0.001)
            process.kill()
            process.wait()
            check(wait_until(lambda: not session(process.pid) and not sleepers.pids(), SOON),
                  f"processes are left after {i} ms")


def interrupted_while_starting(dhole):
    """By Ctrl-C, which all of the launcher's processes get, the one that watches over it too."""
    before = files_of_launcher()
    for i in range(120):
        with started(dhole, "-n", "2", "sleep", "100") as process:
            time.sleep(i % 40 * 0.0002)
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(SOON)
            check(code in (-signal.SIGINT, 128 + signal.SIGINT), f"{code} after {i % 40 / 5} ms")
            check(wait_until(lambda: not session(process.pid), SOON), "processes are left")
            check(files_of_launcher() <= before, f"files are left after {i % 40 / 5} ms")


def many_ranks(dhole):
    out = lines(dhole.run("launch", "-n", str(RANKS_MAX), *shell("echo $DHOLE_RANK of $DHOLE_SIZE")))
    check(sorted(out) == sorted(f"[{r}] {r} of {RANKS_MAX}" for r in range(RANKS_MAX)), str(out))
    ended = dhole.run("launch", "-n", str(RANKS_MAX), *shell("test $DHOLE_RANK = 63 && exit 63; sleep 99"))
    sentence(ended, 63, "rank 63")


def descriptors_of_ranks(dhole):
    """A rank has its standard streams and nothing of the launcher's."""
    got = lines(dhole.run("launch", "-n", "3", "--", sys.executable, "-c",
                          "import os; print(sorted(os.listdir('/proc/self/fd')))"))
    expected = [f"[{rank}] ['0', '1', '2', '3']" for rank in range(3)]  # 3 is that of the folder
    check(sorted(got) == expected, str(got))


# --- input and output -------------------------------------------------------------------------------

def input_of_rank_0(dhole):
    data = os.urandom(300000)
    ended = dhole.run("launch", "-n", "3", "--no-prefix", *shell("cat"), stdin=data)
    check(ended.code == DONE and ended.out == data, f"{len(ended.out)} bytes of {len(data)}")
    ended = dhole.run("launch", "-n", "2", "true", stdin=data)
    check(ended.code == DONE, "input that nobody reads")


def terminal(dhole):
    """Lines typed there reach rank 0, and Ctrl-C is for all."""
    ours, theirs = pty.openpty()
    def lead():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sleepers = Sleepers()
    script = f"test $DHOLE_RANK = 0 && read x && echo \"got $x\"; sleep {sleepers.time} & wait"
    with started(dhole, "-n", "2", *shell(script), stdin=theirs, stdout=theirs, stderr=theirs,
                 preexec_fn=lead) as process:
        os.close(theirs)
        os.write(ours, b"typed\n")
        seen = b""
        while b"got typed" not in seen:
            check(select.select([ours], [], [], 10)[0], f"no answer: {seen}")
            seen += os.read(ours, 1000)
        check(b"[0]\x1b[0m got typed" in seen, f"no colour: {seen}")
        sleepers.wait_for(2)
        os.write(ours, b"\x03")
        check(process.wait(timeout=SOON) == 130 and sleepers.gone(0), f"{process.returncode}")
    os.close(ours)


def prefixes(dhole):
    """Lines of several ranks are never mixed, and streams stay apart."""
    script = "import os, sys\nr = os.environ['DHOLE_RANK']\n" \
             "for i in range(2000):\n  os.write(1 + i % 2, (f'{r} {i} ' + r * (i % 700) + '\\n').encode())"
    ended = dhole.run("launch", "-n", "4", "--", sys.executable, "-c", script)
    check(ended.code == DONE, str(ended))
    for text, odd in ((ended.out, 0), (ended.err, 1)):
        got = {r: [] for r in range(4)}
        for line in text.decode().splitlines():
            r = int(line[1])
            got[r].append(line)
        for r in range(4):
            expected = [f"[{r}] {r} {i} " + str(r) * (i % 700) for i in range(odd, 2000, 2)]
            check(got[r] == expected, f"rank {r}: lines differ")


def unfinished_lines(dhole):
    with started(dhole, *shell("printf 'name? '; read x; echo hello $x"), stdin=subprocess.PIPE) as process:
        check(select.select([process.stdout], [], [], SOON)[0], "the question does not come")
        check(os.read(process.stdout.fileno(), 100) == b"[0] name? ", "the question")
        out, _ = process.communicate(b"you\n", timeout=SOON)
        check(out == b"hello you\n", str(out))
    script = "test $DHOLE_RANK = 1 && sleep 1.5; printf $DHOLE_RANK; sleep 3; printf $DHOLE_RANK; sleep 1.5"
    ended = dhole.run("launch", "-n", "2", *shell(script))
    check(ended.out == b"[0] 0\n[1] 1\n[0] 0\n[1] 1", str(ended.out))


def binary_output(dhole):
    data = os.urandom(1 << 20)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        plain = dhole.run("launch", "--no-prefix", "cat", file.name)
        check(plain.out == data, "bytes differ")
        ended = dhole.run("launch", "cat", file.name)
        expected = b"".join(b"[0] " + line for line in data.splitlines(keepends=True)) \
            if b"\r" not in data else b"[0] " + data.replace(b"\n", b"\n[0] ")
        if data.endswith(b"\n"):
            expected = expected.removesuffix(b"[0] ")
        check(ended.out == expected, "bytes differ with prefixes")


def long_lines(dhole):
    """Without bound, in bounded memory."""
    script = "head -c 100000000 /dev/zero | tr '\\0' x; echo"
    peak = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, " \
           "check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"

    def memory(*command):
        return int(subprocess.run([sys.executable, "-c", peak, dhole.path, *command], timeout=60, check=True,
                                  stdout=subprocess.PIPE).stdout)

    more = memory("launch", *shell(script)) - memory("version")
    check(more < 60000, f"{more} KiB of memory")
    line = dhole.run("launch", *shell("head -c 1000000 /dev/zero | tr '\\0' x; echo")).out
    check(line == b"[0] " + b"x" * 1000000 + b"\n", f"{len(line)} bytes")


def slow_readers(dhole):
    """A reader that waits stops the ranks, but not signals; one that goes away ends them."""
    with started(dhole, "-n", "2", "--no-prefix", "yes") as process:
        check(select.select([process.stdout], [], [], SOON)[0], "no output")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        check(process.wait(timeout=2 * GRACE + SOON) == 143, "the signal's code")
    sleepers = Sleepers()
    with started(dhole, "-n", "2", *shell(f"sleep {sleepers.time} & yes")) as process:
        os.read(process.stdout.fileno(), 100)
        process.stdout.close()
        check(process.wait(timeout=SOON) == 128 + signal.SIGPIPE, f"{process.returncode}")
        check(sleepers.gone(0), "processes are left")
        process.stdout = None
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            ended = dhole.run("launch", *shell("echo x; sleep 100"), stdout=full)
            sentence(ended, FAILED, "stdout", "No space")


# --- programs that join a group -----------------------------------------------------------------------

def libdhole(dhole, launched, *args, size=3):
    total = size * (size + 1) / 2
    ended = dhole.run("launch", *args, launched)
    check(sorted(lines(ended)) == [f"[{r}] rank {r} of {size}: {total:g}" for r in range(size)],
          str(ended))


def backend_variable(dhole, launched):
    ended = dhole.run("launch", "-n", "2", "--env", "DHOLE_BACKEND=smoke", launched)
    sentence(ended, FAILED, '"smoke" (from DHOLE_BACKEND)')


def dead_rank_of_a_group(dhole, launched):
    """The launcher names the rank that was killed, not those that noticed."""
    for _ in range(5):
        with started(dhole, "-n", "3", launched, "on") as process:
            got = b""
            while got.count(b"\n") < 3:
                got += os.read(process.stdout.fileno(), 1000)
            ranks = sorted(pid for pid in processes() if command_line(pid)[:1] == [launched.encode()])
            check(len(ranks) == 3, f"processes {ranks}")
            os.kill(ranks[1], signal.SIGKILL)
            code, err = end(process)
            check(code == 137 and "rank 1 on this machine failed first" in err, f"{code} {err}")


def mlx(dhole, *args):
    try:
        import mlx.core  # noqa: F401
    except ImportError:
        raise Skip("MLX is not installed (pip install mlx mlx-cpu)")
    script = "import mlx.core as mx; g = mx.distributed.init(backend='ring', strict=True); " \
             "x = mx.distributed.all_sum(mx.array([g.rank() + 1.0]), group=g); mx.eval(x); " \
             "print(g.rank(), g.size(), x.item(), flush=True)"
    ended = dhole.run("launch", "-n", "2", *args, "--", sys.executable, "-c", script)
    check(sorted(lines(ended)) == ["[0] 0 2 3.0", "[1] 1 2 3.0"], str(ended))


def mpi(dhole, name, rank):
    """Under the real mpirun."""
    real = shutil.which(name)
    if real is None:
        raise Skip(f"{name} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "mpirun"), "w") as file:
            file.write(f'#!/bin/sh\nexec {real} "$@"\n')
        os.chmod(file.name, 0o755)
        env = {**dhole.env, "PATH": f"{folder}:{dhole.env['PATH']}", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        ended = dhole.run("launch", "-n", "3", "--backend", "mpi", "--env", "A=b c", "--cwd", folder,
                          *shell(f"echo ${rank} $A $PWD"), env=env)
        out = sorted(lines(ended))
        check(out == [f"{r} b c {folder}" for r in range(3)], str(ended))
        ended = dhole.run("launch", "-n", "2", "--backend", "mpi", *shell("exit 9"), env=env)
        check(ended.code == 9, str(ended))
        sleepers = Sleepers()
        with started(dhole, "-n", "2", "--backend", "mpi", "sleep", sleepers.time, env=env) as process:
            sleepers.wait_for(2)
            process.kill()
            check(sleepers.gone(), "processes are left")
            check(wait_until(lambda: not session(process.pid), SOON), "left")  # the folder goes last


# --- keys -----------------------------------------------------------------------------------------

SHOW_KEYS = shell('echo $DHOLE_SEAL $DHOLE_IDENTITY $DHOLE_PINS; test -z "$DHOLE_PINS" || cat $DHOLE_PINS; '
                  'test -z "$DHOLE_IDENTITY" || stat -c %a $DHOLE_IDENTITY')
ON, AUTO, OFF = (["--seal", word] for word in ("on", "auto", "off"))


def lines_of(ended, rank):
    return [line[4:] for line in lines(ended) if line.startswith(f"[{rank}] ")]


def keys_of_ranks(dhole):
    """Each job has its own."""
    seen = set()
    for _ in range(2):
        ended = dhole.run("launch", "-n", "2", *ON, *SHOW_KEYS)
        for rank in range(2):
            first, *fingerprints, mode = lines_of(ended, rank)
            seal, identity, pins = first.split()
            check(seal == "on" and identity.endswith(f"/identity-0{rank}.pem"), identity)
            check(os.path.dirname(pins) == os.path.dirname(identity), pins)
            check(not os.path.exists(os.path.dirname(pins)), f"{pins} is left")
            check(mode == "600" and len(fingerprints) == 2, f"{mode} {fingerprints}")
            seen.update(fingerprints)
    check(len(seen) == 4 and all(len(word) == 71 for word in seen), str(seen))


SEALS = [  # options, the launcher's variables; the ranks' DHOLE_SEAL, whether there are keys
    ([], {}, "auto", False), (ON, {}, "on", True), (AUTO, {}, "auto", False), (OFF, {}, "off", False),
    ([], {"DHOLE_SEAL": "on"}, "on", True), (OFF, {"DHOLE_SEAL": "on"}, "off", False),
    (["--env", "DHOLE_SEAL=on"], {"DHOLE_SEAL": "off"}, "on", True),
    (["--env", "DHOLE_SEAL=on", "--env", "DHOLE_SEAL=off"], {}, "off", False),
    ([], {"DHOLE_PINS": "/of/another/group"}, "auto", False),
]


def seal_of_ranks(dhole, folder):
    def judge(ended, seal, keys):
        for rank in range(2):
            first = lines_of(ended, rank)[0].split()
            check(first[0] == seal and len(first) == 1 + 2 * keys, str(ended))

    for options, variables, seal, keys in SEALS:
        env = {**dhole.env, **variables}
        judge(dhole.run("launch", "-n", "2", *options, *SHOW_KEYS, env=env), seal, keys)
    out = lines(dhole.run("launch", *ON, "--env", "DHOLE_PINS=mine", *shell("echo $DHOLE_PINS")))
    check(out == ["[0] mine"], str(out))
    sentence(dhole.run("launch", "true", env={**dhole.env, "DHOLE_SEAL": "of"}), FAILED, '"of"')
    path = os.path.join(folder, "hosts.json")
    with open(path, "w") as file:
        json.dump({"envs": ["DHOLE_SEAL=off"], "hosts": [{"ssh": "localhost", "ips": ["127.0.0.1"]}] * 2}, file)
    for options, seal in (([], "off"), (ON, "on"), (["--env", "DHOLE_SEAL=auto"], "auto")):
        judge(dhole.run("launch", "--hostfile", path, *options, *SHOW_KEYS), seal, seal != "off")


def runtime_folder(dhole, folder):
    """Files are in XDG_RUNTIME_DIR, which is memory, if it is there."""
    runtime = os.path.join(folder, "run")
    for there in (False, True):
        if there:
            os.mkdir(runtime, 0o700)
        ended = dhole.run("launch", "-n", "2", *ON, *shell("dirname $DHOLE_PINS"),
                          env={**dhole.env, "XDG_RUNTIME_DIR": runtime})
        check((os.path.dirname(lines_of(ended, 0)[0]) == runtime) == there, str(ended))
    check(not os.listdir(runtime), "files are left")


def read_lines(process, count):
    got = b""
    while got.count(b"\n") < count:
        piece = os.read(process.stdout.fileno(), 1000)
        check(piece, f"the job ended after {got!r}")
        got += piece
    return got


def secrets_of(folders):
    """A line of each private key in these folders of jobs."""
    paths = [os.path.join(folder, name) for folder in folders for name in os.listdir(folder)
             if name.startswith("identity-")]
    for path in paths:
        check(os.stat(path).st_mode & 0o777 == 0o600, path)
    return [open(path, "rb").read().splitlines()[1] for path in paths]


def who_was_told(secrets):
    """The processes that have one of them in their arguments or variables."""
    found = []
    for pid in processes():
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    text = file.read()
                found += [f"{name} of {pid}" for secret in secrets if secret in text]
    return found


def hidden_keys(dhole, launched, arguments, size):
    """They are in files alone, which go with the job, however it ends."""
    folders = files_of_launcher()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with started(dhole, *arguments, "--verbose", launched, "on",
                     env={**dhole.env, "DHOLE_LOG": "debug"}) as process:
            text = read_lines(process, size)
            secrets = secrets_of(files_of_launcher() - folders)
            check(len(set(secrets)) == size, f"{len(secrets)} keys")
            told = who_was_told(secrets)
            check(not told, f"a key is in {told}")
            process.send_signal(number)
            out, err = process.communicate(timeout=SOON + GRACE)
            check(not any(secret in text + out + err for secret in secrets), "a key was printed")
            check(wait_until(lambda: files_of_launcher() <= folders, SILENCE), "files are left")


def wrong_keys(dhole, launched, arguments, folder):
    """The ranks have keys of their own, of which one thing is not as it should be."""
    save = shell(f"cp $DHOLE_IDENTITY {folder} && if test $DHOLE_RANK = 0; then cp $DHOLE_PINS {folder}; fi")
    lines(dhole.run("launch", *arguments, *ON, *save))
    with open(os.path.join(folder, "pins")) as file:
        right = file.read().splitlines()
    other = lines_of(dhole.run("launch", "-n", "2", *ON, *shell("head -n 1 $DHOLE_PINS")), 0)[0]
    wrong = [right[0], other, *right[2:]]

    def run(*pins, script=""):
        for rank, text in enumerate(pins):
            with open(os.path.join(folder, f"pins-{rank}"), "w") as file:
                file.write("\n".join(text) + "\n")
        return dhole.run("launch", *arguments, *shell(
            f"export DHOLE_IDENTITY={folder}/identity-0$DHOLE_RANK.pem DHOLE_PINS={folder}/pins-$DHOLE_RANK; "
            f"{script} exec {launched}"))

    size = len(right)
    check(run(*[right] * size).code == DONE, "the right keys")
    for ended, *words in (
            (run(wrong, *[right] * (size - 1)), "rank 1: ", "key"),
            (run(*[wrong] * size), "for rank 1, whose key", other),
            (run(*[[right[0], "# a word", "sha256:x", *right[2:]]] * size), ": line 3: "),
            (run(*[right] * size, script="test $DHOLE_RANK = 1 && export DHOLE_SEAL=off;"),
             "the seal differs: rank 0 has keys, rank 1 has none")):
        text = ended.err.decode()
        check(ended.code != DONE and all(word in text for word in words), f"{words}: {ended}")


# --- other hosts ------------------------------------------------------------------------------------

class Hosts:
    """This network namespace, and two others with an sshd each; a shell for each to be logged in to
    (see sshd(8), AUTHORIZED_KEYS, "command")."""

    NETWORK = "10.213.77"

    def __init__(self, folder):
        self.folder = folder
        self.sshd = []
        self.names = []
        sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        if sshd is None or not shutil.which("ip") or not shutil.which("ssh"):
            raise Skip("openssh-server, openssh-client and iproute2 are not all installed")
        os.makedirs("/run/sshd", exist_ok=True)
        try:
            self.link("add", "br0", "type", "bridge")
        except subprocess.CalledProcessError as error:
            raise Skip(f"no network namespaces: {error.stderr.decode().strip()}")
        subprocess.run(["ip", "addr", "add", f"{self.NETWORK}.1/24", "dev", "br0"], check=True)
        self.link("set", "br0", "up")
        for kind in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file(kind)], check=True)
        for number in (2, 3):
            self.add_host(number, sshd)
        self.write("ssh", f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.file("config")} "$@"\n', 0o755)
        self.write("config", f"Host *\nPort 2222\nUser root\nIdentityFile {self.file('user')}\n"
                   "IdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
                   "LogLevel ERROR\n")
        self.authorize("")
        self.there = [f"{self.NETWORK}.2", f"{self.NETWORK}.3"]
        self.here = f"{self.NETWORK}.1"
        self.env = {"PATH": f"{folder}:{os.environ['PATH']}"}

    def file(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o600):
        with open(self.file(name), "w") as file:
            file.write(text)
        os.chmod(self.file(name), mode)

    def link(self, *words):
        subprocess.run(["ip", "link", *words], check=True, capture_output=True)

    def authorize(self, command):
        with open(self.file("user.pub")) as key:
            options = 'command="' + command.replace('"', '\\"') + '" ' if command else ""
            self.write("authorized", options + key.read())

    def add_host(self, number, sshd):
        name = f"dhole-{os.getpid()}-{number}"
        # Without the user's own start-up files: a shell that is killed in them may leave locks behind.
        self.write("sshd_config", f"Port 2222\nHostKey {self.file('host')}\nPermitRootLogin yes\n"
                   f"SetEnv HOME={self.folder}\nAuthorizedKeysFile {self.file('authorized')}\nStrictModes no\nUsePAM no\n"
                   "PidFile none\n")
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.names.append(name)
        self.link("add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        self.link("set", f"v{number}", "master", "br0", "up")
        for words in (["addr", "add", f"{self.NETWORK}.{number}/24", "dev", "eth0"],
                      ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            subprocess.run(["ip", "-n", name, *words], check=True)
        self.sshd.append(subprocess.Popen(
            ["ip", "netns", "exec", name, sshd, "-f", self.file("sshd_config"), "-D", "-e"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        banner = self.sshd[-1].stderr.readline()
        check(b"listening" in banner, f"sshd: {banner}")

    def close(self):
        for sshd in self.sshd:
            self.clear()
            sshd.kill()
            sshd.communicate()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name])
        subprocess.run(["ip", "link", "del", "br0"])

    def logged_in(self):
        """All that runs in the other namespaces but the sshds that listen."""
        spaces = {os.stat(f"/run/netns/{name}").st_ino for name in self.names}
        found = []
        for pid in processes():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino in spaces:
                    found.append(pid)
        return sorted(set(found) - {sshd.pid for sshd in self.sshd})

    def clear(self):
        for pid in self.logged_in():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def gone(self, seconds=SOON):
        return wait_until(lambda: not self.logged_in(), seconds)


def everything_gone(hosts, sleepers, seconds=SOON):
    check(sleepers is None or sleepers.gone(seconds), f"ranks are left: {sleepers and sleepers.pids()}")
    check(hosts.gone(seconds), f"left behind: {[command_line(pid) for pid in hosts.logged_in()]}")
    left = {name for name in files_of_launcher()}
    check(wait_until(lambda: not files_of_launcher(), SOON), f"files are left: {left}")


class There:
    """The cases of other hosts."""

    def __init__(self, dhole, hosts):
        self.hosts = hosts
        self.dhole = Dhole(dhole.path, None, {**hosts.env, "DHOLE_SEAL": ""})

    def arguments(self, n=1):
        return "--hosts", ",".join([self.hosts.here, *self.hosts.there]), "-n", str(n)

    def started(self, sleepers, simple=False):
        program = ("sleep", sleepers.time) if simple else \
            shell(f"sleep {sleepers.time} & sleep {sleepers.time}; :")
        return started(self.dhole, *self.arguments(), *program)

    def runs(self, n):
        ranks = environment(self.dhole, *self.arguments(n), "--env", "A=b c'\"$x\\")
        check(len(ranks) == 3 * n, f"{len(ranks)} ranks")
        expected = [[f"{host}:{32323 + n * i + k}"] for i, host in
                    enumerate([self.hosts.here, *self.hosts.there]) for k in range(n)]
        for rank, e in enumerate(ranks):
            check(e["file"] == expected, f"{e['file']}")
            check(e["DHOLE_RANK"] == str(rank) and e["A"] == "b c'\"$x\\", "variables")
            check(e["modes"] == ["0o600", "0o700"] and e["cwd"] == os.getcwd(), f"{e['modes']} {e['cwd']}")
        everything_gone(self.hosts, None)

    def quoting(self):
        odd = os.path.join(self.hosts.folder, "it's \"a\" $földer\\ `x`")
        os.makedirs(odd, exist_ok=True)
        script = os.path.join(odd, "print all")
        with open(script, "w") as file:
            file.write("#!/bin/sh\npwd\nfor word; do echo \"<$word>\"; done\n")
        os.chmod(script, 0o755)
        words = ["", "a b", "it's", '"', "$HOME", "`id`", "\\", "!!", "*", "ü", "a\tb", "-n", "x" * 5000]
        out = lines(self.dhole.run("launch", "--hosts", self.hosts.there[0], "--cwd", odd, "--",
                                   script, *words))
        check(out == [f"[0] {odd}"] + [f"[0] <{word}>" for word in words], str(out)[:2000])
        out = self.dhole.run("launch", "--hosts", self.hosts.there[0], "--no-prefix", "--", script,
                             "new\nline", b"\xff\xfe").out
        check(out.endswith(b"<new\nline>\n<\xff\xfe>\n"), str(out))
        ended = self.dhole.run("launch", *self.arguments(), "--cwd", odd + "/none", "true")
        check(ended.code == FAILED, str(ended))

    def exit_codes(self):
        for rank in (0, 1, 2):
            ended = self.dhole.run("launch", *self.arguments(),
                                   *shell(f"test $DHOLE_RANK = {rank} && exit 7; sleep 100"))
            sentence(ended, 7, f"rank {rank}", "code 7")
        ended = self.dhole.run("launch", *self.arguments(),
                               *shell("test $DHOLE_RANK = 2 && kill -SEGV $$; sleep 100"))
        sentence(ended, 139, "rank 2", "signal 11", self.hosts.there[1])
        ended = self.dhole.run("launch", "--hosts", self.hosts.there[0], "no-such-program")
        sentence(ended, NOT_FOUND, "no-such-program", "rank 0")
        everything_gone(self.hosts, None)

    def input(self):
        data = os.urandom(300000)
        hosts = ",".join([*self.hosts.there, self.hosts.here])
        ended = self.dhole.run("launch", "--hosts", hosts, "--no-prefix", "cat", stdin=data)
        check(ended.code == DONE and ended.out == data, f"{len(ended.out)} bytes: {ended.err}")
        ended = self.dhole.run("launch", "--hosts", hosts, "true", stdin=data)
        check(ended.code == DONE, "input that nobody reads")
        everything_gone(self.hosts, None)

    def output(self):
        data = os.urandom(1 << 20)
        path = os.path.join(self.hosts.folder, "data")
        with open(path, "wb") as file:
            file.write(data)
        ended = self.dhole.run("launch", "--hosts", self.hosts.there[0], "--no-prefix",
                               *shell(f"cat {path}; echo end >&2"))
        check(ended.out == data and ended.err == b"end\n", f"{len(ended.out)} {ended.err}")

    def interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            sleepers = Sleepers()
            script = f"trap 'echo caught; exit 0' INT TERM; sleep {sleepers.time} & wait; sleep 1"
            with started(self.dhole, *self.arguments(), *shell(script)) as process:
                sleepers.wait_for(3)
                process.send_signal(number)
                out, err = process.communicate(timeout=SOON)
                check(process.returncode == 128 + number, f"{process.returncode} {err}")
                check(out.count(b"caught") == 3, f"{out}")
                everything_gone(self.hosts, sleepers)

    def stubborn(self):
        sleepers = Sleepers()
        script = f"trap '' INT TERM; setsid sleep {sleepers.time} & sleep {sleepers.time}; sleep 99"
        with started(self.dhole, *self.arguments(), *shell(script)) as process:
            sleepers.wait_for(6)
            process.send_signal(signal.SIGTERM)
            code, err = end(process)
            check(code == 143, f"{code} {err}")
            everything_gone(self.hosts, sleepers)

    def grandchildren(self):
        sleepers = Sleepers()
        script = f"setsid sleep {sleepers.time} & sleep {sleepers.time} & exit 0"
        ended = self.dhole.run("launch", *self.arguments(), *shell(script))
        check(ended.code == DONE, str(ended))
        everything_gone(self.hosts, sleepers)

    def killed(self, what):
        """With SIGKILL: something of the job."""
        sleepers = Sleepers()
        with self.started(sleepers, simple=what == "shells") as process:
            sleepers.wait_for(3 if what == "shells" else 6)
            victims = {
                "launcher": lambda: [process.pid],
                "ssh": lambda: [m.pid for m in session(process.pid)
                                if os.path.basename(os.readlink(f"/proc/{m.pid}/exe")) == "ssh"],
                "sshd": lambda: [p for p in self.hosts.logged_in()
                                 if b"sshd" in command_line(p)[0] or
                                 os.path.basename(os.readlink(f"/proc/{p}/exe")).startswith("sshd")],
                "shells": lambda: [p for p in self.hosts.logged_in() if b"eval" in b" ".join(command_line(p))],
                "main": lambda: [p for p in self.hosts.logged_in()
                                 if b"eval" in b" ".join(command_line(p)) and os.getpgid(p) == p],
                "orders": lambda: [p for p in self.hosts.logged_in()
                                   if b"eval" in b" ".join(command_line(p)) and os.getpgid(p) != p][::2],
                "rank": lambda: [p for p in self.hosts.logged_in() if p in sleepers.pids()][:1],
            }[what]()
            check(victims, f"no {what} to kill")
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if what not in ("launcher", "rank"):
                code, err = end(process, SILENCE + 2 * GRACE)
                check(code != DONE and "failed first" in err, f"{code} {err}")
            if what == "rank":
                process.send_signal(signal.SIGTERM)
            check(sleepers.gone(SILENCE) and self.hosts.gone(SILENCE), "processes are left")
            if what == "shells":  # nobody is left there to remove the files
                for name in files_of_launcher():
                    shutil.rmtree(name)
            everything_gone(self.hosts, sleepers)

    def killed_while_starting(self):
        for i in range(12):
            sleepers = Sleepers()
            with self.started(sleepers) as process:
                time.sleep(i * 0.05)
                process.kill()
                process.wait()
                everything_gone(self.hosts, sleepers, SILENCE)

    def cut_off(self):
        """A host that is unplugged, with nothing killed: both sides end."""
        sleepers = Sleepers()
        with self.started(sleepers) as process:
            sleepers.wait_for(6)
            self.hosts.link("set", "v3", "down")
            try:
                check(sleepers.gone(2 * SILENCE + GRACE), f"ranks are left: {sleepers.pids()}")
                code, err = end(process, SILENCE + GRACE)
                check(code == LOST and "rank 2" in err, f"{code} {err}")
            finally:
                self.hosts.link("set", "v3", "up")
        for pid in self.hosts.logged_in():  # sshd itself waits for the network
            check(b"sshd" in command_line(pid)[0], f"left behind: {command_line(pid)}")
        self.hosts.clear()
        everything_gone(self.hosts, None)

    def unreachable(self):
        nobody = f"{self.hosts.NETWORK}.9"
        sleepers = Sleepers()
        ended = self.dhole.run("launch", "--hosts", f"{self.hosts.here},{self.hosts.there[0]},{nobody}",
                               "sleep", sleepers.time)
        sentence(ended, LOST, "rank 2", nobody, "ssh")
        everything_gone(self.hosts, sleepers)
        sentence(self.dhole.run("launch", "--hosts", f"localhost,{self.hosts.there[0]}", "true"), FAILED,
                 "localhost", "ips")

    def noisy_shell(self, shell_name):
        """What a login shell prints is not the rank's, and it may be another shell."""
        interpreter = shutil.which(shell_name)
        if interpreter is None:
            raise Skip(f"{shell_name} is not installed")
        command = "echo welcome; printf '%s' x; exec " + shell_name + \
            " -c \"$(printf %s \"$SSH_ORIGINAL_COMMAND\" | sed s,/bin/sh," + interpreter + ",)\""
        self.hosts.authorize(command)
        try:
            ended = self.dhole.run("launch", "--hosts", ",".join(self.hosts.there), *shell("cat; echo $0"),
                                   stdin=b"typed\n")
            check(sorted(lines(ended)) == ["[0] sh", "[0] typed", "[1] sh"], str(ended))
            self.exit_codes()
            self.interrupted()
            self.killed("launcher")
        finally:
            self.hosts.authorize("")

    def captured(self, launched, *options):
        """The ranks of which something can be read between two hosts, which have memory in common here."""
        with Capture("v2") as capture:
            libdhole(self.dhole, launched, *self.arguments(2), "--backend", "ring", *options, size=6)
        check(not capture.dropped and capture.frames, f"{capture.dropped} dropped")
        wire = b"".join(capture.frames)
        return [rank for rank in range(6) if f"these are words of rank {rank}".encode() in wire]

    def group(self, launched):
        """A group of libdhole across hosts is sealed, unless somebody says otherwise by name."""
        libdhole(self.dhole, launched, *self.arguments(2), size=6)
        for options in ([], ON):
            check(not self.captured(launched, *options), "words in the clear")
        for options in (OFF, ["--env", "DHOLE_SEAL=off"]):
            seen = self.captured(launched, *options)
            check({2, 3} <= set(seen), f"in the clear, {seen} are seen")
        everything_gone(self.hosts, None)

    def hidden_keys(self, launched):
        hidden_keys(self.dhole, launched, self.arguments(), 3)
        everything_gone(self.hosts, None)

    def wrong_keys(self, launched):
        with tempfile.TemporaryDirectory() as folder:
            wrong_keys(self.dhole, launched, self.arguments(), folder)


def hosts_cases(suite, dhole, launched):
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            hosts = Hosts(folder)
        except Skip as why:
            reason = str(why)
            suite.case("other hosts", lambda: (_ for _ in ()).throw(Skip(reason)))
            return
        stack.callback(hosts.close)
        there = There(dhole, hosts)
        def case(name, function, *arguments):
            suite.case(name, function, *arguments)
            hosts.clear()  # of a case that failed

        case("hosts: what ranks are told", there.runs, 1)
        case("hosts: several ranks each", there.runs, 5)
        case("hosts: quoting", there.quoting)
        case("hosts: exit codes", there.exit_codes)
        case("hosts: input", there.input)
        case("hosts: output", there.output)
        case("hosts: interrupted", there.interrupted)
        case("hosts: SIGTERM is not enough", there.stubborn)
        case("hosts: grandchildren", there.grandchildren)
        for what in ("launcher", "ssh", "sshd", "main", "orders", "shells", "rank"):
            case(f"hosts: killed: {what}", there.killed, what)
        case("hosts: killed while starting", there.killed_while_starting)
        case("hosts: cut off", there.cut_off)
        case("hosts: unreachable", there.unreachable)
        for name in ("dash", "bash"):
            case(f"hosts: a noisy login shell, {name}", there.noisy_shell, name)
        case("hosts: a group of libdhole", there.group, launched)
        case("hosts: hidden keys", there.hidden_keys, launched)
        case("hosts: wrong keys", there.wrong_keys, launched)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dhole", required=True)
    parser.add_argument("--launched")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    isolate()
    OTHERS.update(files_of_launcher())
    launched = args.launched or os.path.join(os.path.dirname(os.path.abspath(args.dhole)), "launched")
    suite = Suite(args.only)
    dhole = Dhole(args.dhole, None)

    suite.case("launch: usage errors", usage_errors, dhole)
    suite.case("launch: help", help_has_examples, dhole)
    with tempfile.TemporaryDirectory() as folder:
        suite.case("launch: bad host files", bad_host_files, dhole, folder)
        suite.case("launch: addresses", addresses_of_ranks, dhole, folder)
        suite.case("launch: nccl and jaccl", other_backends, dhole, folder)
        suite.case("launch: folders", folders, dhole, folder)
        suite.case("launch: programs that cannot run", programs_that_cannot_run, dhole, folder)
    suite.case("launch: variables", variables_of_ranks, dhole)
    suite.case("launch: ports in use", ports_in_use, dhole)
    suite.case("launch: exit codes", exit_codes, dhole)
    suite.case("launch: a rank is killed", killed_rank, dhole)
    suite.case("launch: SIGTERM is not enough", stubborn, dhole)
    suite.case("launch: a stopped rank", stopped, dhole)
    suite.case("launch: grandchildren", grandchildren, dhole)
    suite.case("launch: --timeout", timeouts, dhole)
    suite.case("launch: interrupted", interrupted, dhole)
    suite.case("launch: interrupted twice", interrupted_twice, dhole)
    suite.case("launch: other signals", other_signals, dhole)
    suite.case("launch: the launcher is killed", killed_launcher, dhole)
    suite.case("launch: killed while starting", killed_while_starting, dhole)
    suite.case("launch: interrupted while starting", interrupted_while_starting, dhole)
    suite.case(f"launch: {RANKS_MAX} ranks", many_ranks, dhole)
    suite.case("launch: descriptors", descriptors_of_ranks, dhole)
    suite.case("launch: input", input_of_rank_0, dhole)
    suite.case("launch: a terminal", terminal, dhole)
    suite.case("launch: prefixes", prefixes, dhole)
    suite.case("launch: unfinished lines", unfinished_lines, dhole)
    suite.case("launch: binary output", binary_output, dhole)
    suite.case("launch: long lines", long_lines, dhole)
    suite.case("launch: slow readers", slow_readers, dhole)
    for backend in ("any", "ring", "tcp", "shm"):
        suite.case(f"launch: libdhole, {backend}", libdhole, dhole, launched, "-n", "3", "--backend", backend)
    suite.case("launch: libdhole, 2 addresses a rank", libdhole, dhole, launched, "-n", "3",
               "--connections-per-ip", "2", "--backend", "ring")
    suite.case("launch: libdhole, DHOLE_BACKEND", backend_variable, dhole, launched)
    suite.case("launch: libdhole, a rank is killed", dead_rank_of_a_group, dhole, launched)
    suite.case("launch: keys", keys_of_ranks, dhole)
    with tempfile.TemporaryDirectory() as folder:
        suite.case("launch: --seal and DHOLE_SEAL", seal_of_ranks, dhole, folder)
        suite.case("launch: XDG_RUNTIME_DIR", runtime_folder, dhole, folder)
        suite.case("launch: wrong keys", wrong_keys, dhole, launched, ["-n", "2"], folder)
    suite.case("launch: hidden keys", hidden_keys, dhole, launched, ["-n", "3", *ON], 3)
    suite.case("launch: libdhole, --seal on", libdhole, dhole, launched, "-n", "3", *ON, "--backend", "ring")
    suite.case("launch: MLX", mlx, dhole)
    suite.case("launch: MLX, --backend ring", mlx, dhole, "--backend", "ring", "--connections-per-ip", "2")
    suite.case("launch: Open MPI", mpi, dhole, "mpirun.openmpi", "OMPI_COMM_WORLD_RANK")
    suite.case("launch: MPICH", mpi, dhole, "mpirun.mpich", "PMI_RANK")
    hosts_cases(suite, dhole, launched)
    return suite.finish()


sys.exit(main())
