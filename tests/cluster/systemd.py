#!/usr/bin/env python3
"""Judges the worker as a service of systemd, set up as docs/service.md says. Runs inside a machine of
script/rdma-vm that has systemd as process 1, and takes some minutes:

    script/rdma-vm --systemd --limit 900 tests/cluster/systemd.py
"""

import argparse
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cli"))
from harness import Suite, check, wait_until  # noqa: E402

UNIT, HOME, PORT = "dhole-join", pathlib.Path("/var/lib/dhole"), 7777
TRUSTED = HOME / ".config/dhole/trusted"
MODEL = HOME / "smol.gguf"
PATIENCE = 240
USAGE, PEER_LOST, AUTH, FILE = 2, 3, 4, 5


def shell(line, code=0, **options):
    """What it printed; it must end with that code, or any other than 0 where that is None."""
    done = subprocess.run(line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=PATIENCE, **options)
    right = done.returncode != 0 if code is None else done.returncode == code
    check(right, f"{line}: exit {done.returncode}: {done.stdout}")
    return done.stdout


def shows(name):
    return shell(f"systemctl show --value -p {name} {UNIT}").strip()


def now():
    """For journalctl's --since."""
    return f"@{time.time():.6f}"


def journal(since):
    shell("journalctl --sync")
    return shell(f"journalctl --no-pager -o cat -u {UNIT} --since {since}")


def configure(model=MODEL, more=""):
    pathlib.Path("/etc/dhole/join.conf").write_text(
        f'DHOLE_JOIN="--listen 0.0.0.0:{PORT} --name attic --model {model} {more}"\n')


def listens():
    return shell(f"ss -Htln sport = {PORT}") != ""


def generate(*options):
    line = f"dhole generate --raw --model {MODEL} --prompt Wolves --peers attic --max-tokens 2 --json"
    return json.loads(shell(" ".join([line, *options])))


class Answering:
    """A long answer of the worker, from its first text on."""

    def __enter__(self):
        self.process = subprocess.Popen(
            ["dhole", "generate", "--raw", "--model", MODEL, "--prompt", "Wolves", "--peers", "attic",
             "--max-tokens", "2000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.more()
        return self

    def more(self):
        check(os.read(self.process.stdout.fileno(), 1), f"no text: {self.process.poll()}")

    def ends(self):
        """Exit code and complaint."""
        complaint = self.process.communicate(timeout=PATIENCE)[1].decode()
        return self.process.returncode, complaint

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Judge:
    def __init__(self, args):
        self.args, self.secrets = args, []

    def set_up(self):
        """systemctl returns when somebody listens, and not before."""
        check(shell("cat /proc/1/comm").strip() == "systemd", "systemd is not process 1")
        shell(f"cmake --install {self.args.build} --prefix /usr/local")
        shell("mkdir -p /etc/dhole")
        shell(f"sudo install -D -m 644 {self.args.model} {MODEL}")
        configure()
        shell(f"sudo systemd-sysusers && sudo systemctl enable --now {UNIT}")
        check(listens(), "it was ready before it listened")
        status = shell(f"systemctl --no-pager -l status {UNIT}")
        check(f'Status: "listens at 0.0.0.0:{PORT}, with {MODEL.name}; machines that it trusts: 0"' in status
              and "it trusts no machine yet" in status, status)
        check(shell(f"stat -c '%U %a' {HOME} {MODEL} {HOME}/.config/dhole/identity.pem").split()
              == ["dhole", "700", "dhole", "644", "dhole", "600"], "of another user")

    def sound(self):
        text = shell(f"systemd-analyze verify {UNIT}.service")
        check(text == "", text)
        # Exits with 1 above the threshold, in tenths.
        text = shell(f"systemd-analyze security --no-pager --threshold=20 {UNIT}")
        return text.strip().splitlines()[-1]

    def pairs(self):
        maker = subprocess.Popen(["dhole", "pair", "--listen", "127.0.0.1:0", "--name", "desk"],
                                 stdout=subprocess.PIPE, text=True)
        self.secrets.append(maker.stdout.readline())
        shell(f"sudo -u dhole -H dhole join - --name attic --address 0.0.0.0:{PORT}", input=self.secrets[0])
        maker.communicate(timeout=PATIENCE)
        shell(f"sudo systemctl reload {UNIT}")
        answer = generate()
        check(len(answer["tokens"]) == 2 and answer["sealed_bytes"] > 0 and answer["plain_bytes"] == 0, f"{answer}")
        return repr(answer["text"])

    def reloads(self):
        """Without a word to the request that runs; a list that is wrong fails the reload alone."""
        pid, since = shows("MainPID"), now()
        with Answering() as answering:
            shell(f"sudo -u dhole -H dhole trust add third sha256:{'5e' * 32}")
            shell(f"sudo systemctl reload {UNIT}")
            check(wait_until(lambda: shows("StatusText").endswith("trusts: 2"), PATIENCE), shows("StatusText"))
            with TRUSTED.open("a") as file:
                file.write("what is this\n")
            shell(f"sudo systemctl reload {UNIT}", code=None)
            check(f"{TRUSTED}, line 3: " in journal(since), journal(since))
            shell(f"sed -i '$d' {TRUSTED} && sudo systemctl reload {UNIT}")
            answering.more()
        check((shows("ActiveState"), shows("MainPID")) == ("active", pid), "it did not stay")

    def stops(self):
        """By itself: systemd would kill it after a while, and say so."""
        with Answering() as answering:
            start = time.monotonic()
            shell(f"sudo systemctl stop {UNIT}")
            seconds = time.monotonic() - start
            code, complaint = answering.ends()
        check(code == PEER_LOST and "attic" in complaint, f"exit {code}: {complaint}")
        ended = [shows(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
        check(ended == ["inactive", "success", "0"], f"{ended}")
        return f"stopped in {seconds:.1f} s"

    def comes_back(self):
        shell(f"sudo systemctl start {UNIT}")
        pid = shows("MainPID")
        os.kill(int(pid), signal.SIGKILL)
        check(wait_until(lambda: shows("ActiveState") == "active" and shows("MainPID") not in ("0", pid), PATIENCE),
              "it is not started again")
        check(shows("NRestarts") == "1", shows("NRestarts"))
        generate()

    def fails(self, code, words):
        """At once, once, and with a line that says why."""
        shell(f"sudo systemctl stop {UNIT} && sudo systemctl reset-failed {UNIT} || true")
        since = now()
        try:
            shell(f"sudo systemctl start {UNIT}", code=None)
            ended = [shows(name) for name in ("ActiveState", "Result", "ExecMainStatus", "NRestarts")]
            check(ended == ["failed", "exit-code", str(code), "0"], f"{ended}: {journal(since)}")
            check(re.search(words, journal(since)), journal(since))
            return re.search(words, journal(since))[0]
        finally:
            configure()

    def wrong_list(self, code, how, words):
        shell(f"cp -p {TRUSTED} /run/trusted && {how} {TRUSTED}")
        try:
            return self.fails(code, words)
        finally:
            shell(f"cp -p /run/trusted {TRUSTED}")

    def wrong_options(self, code, configuration, words):
        configure(**configuration)
        return self.fails(code, words)

    def waits_for_a_port(self):
        """What may mend itself is tried again."""
        shell(f"sudo systemctl stop {UNIT}; sudo systemctl reset-failed {UNIT} || true")
        since = now()
        with socket.create_server(("0.0.0.0", PORT)):
            shell(f"sudo systemctl start {UNIT}", code=None)
            check(wait_until(lambda: int(shows("NRestarts")) > 0, PATIENCE), "it is not started again")
        check(wait_until(lambda: shows("ActiveState") == "active", PATIENCE), journal(since))
        check(f"0.0.0.0:{PORT}" in journal(since), journal(since))

    def home(self):
        """A model in somebody's home, if that can be read."""
        model = pathlib.Path("/home/somebody/smol.gguf")
        shell(f"sudo install -D -m 644 {self.args.model} {model}")
        configure(model=model)
        try:
            shell(f"sudo systemctl restart {UNIT}")
            generate()
        finally:
            configure()
            model.unlink()

    def rdma(self):
        """Its devices, and memory to be locked, are within the sandbox."""
        configure(more="--devices rxe1")
        shell(f"sudo systemctl restart {UNIT}")
        answer = generate("--backend jaccl --devices rxe0 --parallel tp")
        sent = shell("cat /sys/class/infiniband/rxe1/ports/1/hw_counters/sent_pkts")
        check(int(sent) > 10, f"{sent} packets over RDMA")
        configure()
        return repr(answer["text"])

    def says_no_secret(self):
        """Nor does anybody else: sudo logs command lines."""
        self.secrets += (HOME / ".config/dhole/identity.pem").read_text().splitlines()[1:-1]
        shell("journalctl --sync")
        everything = shell("journalctl --no-pager -o cat")
        check(len(self.secrets) > 2, "there is no key")
        for secret in self.secrets:
            check(secret.strip() not in everything, "a secret is in the journal")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default=ROOT / "build/release")
    parser.add_argument("--model", default=os.environ.get("DHOLE_TEST_MODEL",
                                                          ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    args = parser.parse_args()
    os.environ["PATH"] = "/usr/local/bin:/usr/bin:/usr/sbin"
    suite, judge = Suite(), Judge(args)
    suite.case("set up", judge.set_up)
    suite.case("sound", judge.sound)
    suite.case("pairs", judge.pairs)
    suite.case("reloads", judge.reloads)
    suite.case("stops", judge.stops)
    suite.case("comes back", judge.comes_back)
    suite.case("wrong/list", judge.wrong_list, FILE, "sed -i 's/sha256/md5/'", r"dhole: .*trusted, line 1: .*")
    suite.case("wrong/list of all", judge.wrong_list, AUTH, "chmod 666", r"dhole: .*trusted may be written by .*")
    suite.case("wrong/no model", judge.wrong_options, FILE, {"model": "/nowhere"}, r"dhole: .*/nowhere.*")
    suite.case("wrong/no token", judge.wrong_options, FILE, {"more": "-"}, r"dhole: .*token.*")
    suite.case("wrong/option", judge.wrong_options, USAGE, {"more": "--hidden"}, r".*--hidden.*")
    suite.case("waits for a port", judge.waits_for_a_port)
    suite.case("home", judge.home)
    suite.case("rdma", judge.rdma)
    suite.case("says no secret", judge.says_no_secret)
    return suite.finish()


sys.exit(main())
