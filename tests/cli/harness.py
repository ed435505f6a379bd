"""Runs the program, and the cases that judge it: each prints ok, FAILED or skipped."""

import argparse
import json
import os
import signal
import socket
import subprocess
import time
import traceback

# Whoever is started in the background may have SIGINT ignored, and all that he starts with him.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Skip(Exception):
    """Raised by a case that cannot run here; says why."""


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def arguments(doc):
    """A parser of what every suite takes, whose help is the first line of `doc`."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--dhole", required=True)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    return parser


def unable(missing=None):
    """Whether a suite can not run here, for what the caller misses or for want of /proc; says why."""
    if not os.path.exists("/proc/self/stat"):
        missing = "no /proc to follow processes in"
    if missing:
        print(f"skipped: {missing}\n0 passed, 0 failed, 1 skipped")
    return bool(missing)


class Suite:
    def __init__(self, only=""):
        self.only = only
        self.passed = self.failed = self.skipped = 0

    def case(self, name, function, *args):
        """A case passes when it returns; what it returns, if anything, is printed as a remark."""
        if self.only not in name:
            return
        start = time.monotonic()
        try:
            remark = function(*args)
        except Skip as why:
            self.skipped += 1
            print(f"skipped {name}: {why}", flush=True)
        except Exception as error:
            self.failed += 1
            print(f"FAILED  {name}: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
        else:
            self.passed += 1
            seconds = time.monotonic() - start
            print(f"ok      {name} ({seconds:.1f} s){': ' + remark if remark else ''}", flush=True)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


class Ended:
    """How a run of the program ended."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def __str__(self):
        return f"exit {self.code}, stdout {self.out[:200]!r}, stderr {self.err[-600:]!r}"


def sentence(ended, code, *words):
    """It ended with that code, nothing on stdout, and a complaint with those words: few lines
    after the program's name, and no report of a sanitizer."""
    complain(ended, code, *words)
    check(ended.out == b"", f"text on stdout: {ended}")


def complain(ended, code, *words):
    check(ended.code == code, f"expected exit code {code}: {ended}")
    text = ended.err.decode(errors="replace")
    check(text.startswith("dhole") and text.count("\n") <= 4, f"not a sentence: {text!r}")
    for word in words:
        check(word in text, f"{word!r} is not in {text!r}")


def tcp_addresses(pid):
    """The local addresses of a process's TCP sockets."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for table, family in ("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6):
        with open(f"/proc/{pid}/net/{table}") as lines:
            rows = [line.split() for line in lines][1:]
        for fields in rows:
            if fields[9] in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                address = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                yield socket.inet_ntop(family, address)


class Process:
    """One process, as /proc/PID/stat tells of it."""

    def __init__(self, pid):
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        self.pid = pid
        self.state, self.parent, self.session = fields[0], int(fields[1]), int(fields[3])
        self.start = int(fields[19])
        self.status = int(fields[49])  # as wait() would give it, of one that has ended


def session(leader):
    """The live processes of a session, in the order in which they started."""
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                process = Process(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if process.session == leader and process.state not in "ZX":
                members.append(process)
    return sorted(members, key=lambda process: (process.start, process.pid))


def wait_until(condition, seconds):
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Dhole:
    """The program, for one model. Each run leads a session of its own, so that what it leaves
    behind can be told from everything else."""

    def __init__(self, path, model, env=None):
        self.path, self.model = os.path.abspath(path), model
        self.env = {**os.environ, **(env or {})}

    def start(self, *args, **popen):
        words = [word if isinstance(word, bytes) else str(word) for word in (self.path, *args)]
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        return subprocess.Popen(words, start_new_session=True,
                                **{**pipes, "env": self.env, **popen})

    def run(self, *args, stdin=b"", timeout=60, **popen):
        start = time.monotonic()
        process = self.start(*args, **popen)
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            raise AssertionError(f"still running after {timeout} s: {args}; stderr {err[-600:]!r}")
        ended = Ended(process.returncode, out or b"", err or b"", time.monotonic() - start)
        gone = wait_until(lambda: not session(process.pid), 2)
        if not gone:
            left = [member.pid for member in session(process.pid)]
            os.killpg(process.pid, 9)
            raise AssertionError(f"processes {left} left behind by {args}; {ended}")
        return ended

    def generate(self, prompt, *args, model=None, **options):
        """The JSON object of a run that must succeed."""
        ended = self.run("generate", "--model", model or self.model, "--prompt", prompt, "--json",
                         *args, **options)
        check(ended.code == 0, f"{args}: {ended}")
        return json.loads(ended.out)

    def tokenize(self, text, model=None):
        ended = self.run("tokenize", "--model", model or self.model, "--text", text)
        check(ended.code == 0, str(ended))
        return [int(word) for word in ended.out.split()]
