"""Two machines that trust each other: near asks, far works for it."""

import contextlib
import json
import os
import re
import subprocess
import time

from harness import Ended, check, wait_until
from hosts import hosts

PORT = 7777
PROMPT = "The owl flies at midnight over the frozen harbour, and the fox knows why."


class Machines:
    """`near`, `far`, and maybe `other`, of whom it is for the caller to say whom they trust."""

    def __init__(self, program, model, near, far, other=None):
        self.program, self.model = os.path.abspath(program), model
        self.near, self.far, self.other = near, far, other
        self.workers = {}

    def dhole(self, host, *words, timeout=60, env=None):
        start = time.monotonic()
        done = host.run(self.program, *words, timeout=timeout, env=env)
        return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - start)

    def must(self, host, *words, **options):
        ended = self.dhole(host, *words, **options)
        check(ended.code == 0, f"{host.name}: dhole {' '.join(words)}: {ended}")
        return ended.out.decode()

    def fingerprint(self, host):
        return json.loads(self.must(host, "id", "--json"))["fingerprint"]

    def trust_each_other(self, *hosts):
        for one in hosts or (self.near, self.far):
            for other in hosts or (self.near, self.far):
                if one is not other:
                    self.must(one, "trust", "add", other.name, self.fingerprint(other), f"{other.address}:{PORT}")

    def log(self, host=None):
        with open((host or self.far).file("worker.log"), errors="replace") as log:
            return log.read()

    def says_failed(self, host=None):
        return re.search(r"the request of near \S+ failed", self.log(host))

    def start_worker(self, *more, host=None, env=None):
        """It listens when this returns."""
        host = host or self.far
        with open(host.file("worker.log"), "a") as log:
            before = self.log(host).count("listens at")
            worker = host.start(self.program, "join", "--listen", f"0.0.0.0:{PORT}", "--model", self.model,
                                "--threads", "1", *(more or ["--hide"]), env=env, stdout=subprocess.DEVNULL,
                                stderr=log)
        listening = wait_until(lambda: self.log(host).count("listens at") > before or worker.poll() is not None, 20)
        check(listening and worker.poll() is None, f"the worker does not start: {self.log(host)}")
        self.workers[host] = worker

    def kill_worker(self):
        self.far.kill(self.workers.pop(self.far))

    def alive(self):
        for host, worker in self.workers.items():
            check(worker.poll() is None, f"the worker of {host.name} died: {self.log(host)}")

    def peer(self, timeout=3, host=None, name="far"):
        """What `dhole peers` shows of it."""
        listed = json.loads(self.must(host or self.near, "peers", "--json", "--timeout", str(timeout)))
        (peer,) = [peer for peer in listed["peers"] if peer["name"] == name]
        return peer

    def shows(self, state, *words, error=None, seconds=0):
        """At the latest `seconds` from now; `words` say why."""
        end = time.monotonic() + seconds
        while (peer := self.peer())["state"] != state and time.monotonic() < end:
            pass
        check(peer["state"] == state, f"far is {peer['state']} rather than {state}: {peer}\n{self.log()[-800:]}")
        check(error is None or peer["error"] in error, f"{peer}")
        for word in words:
            check(word in peer["why"], f"{word!r} is not in {peer['why']!r}")
        check(state != "ready" or (peer["round_trip_us"] > 0 and peer["why"] == ""), f"{peer}")
        return peer

    def arguments(self, *more, tokens=6):
        return ["generate", "--model", self.model, "--prompt", PROMPT, "--raw", "--threads", "1",
                "--max-tokens", str(tokens), *more]

    def answer(self, *more, peers="far"):
        """What comes of a request that must succeed, as JSON."""
        peers = ["--peers", peers] if peers else []
        return json.loads(self.must(self.near, *self.arguments(*peers, "--json", *more)))

    def works(self, peers="far"):
        answer = self.answer(peers=peers)
        check(answer["ranks"] == len(peers.split(",")) + 1 and answer["generated"] == 6, f"{answer}")
        self.alive()

    def fails(self, code, *words, within, host=None):
        ended = self.dhole(host or self.near, *self.arguments("--peers", "far"))
        self.judge(ended, code, words, within)

    def judge(self, ended, code, words, within):
        text = ended.err.decode(errors="replace")
        check(ended.code == code, f"expected exit code {code}: {ended}\n{self.log()[-800:]}")
        check(ended.seconds < within, f"took {ended.seconds:.1f} s, expected {within} at most: {ended}")
        for word in words:
            check(word in text, f"{word!r} is not in {text!r}")

    def request(self, peers="far"):
        """One that lasts, of which the first text has come."""
        process = self.near.start(self.program, *self.arguments("--peers", peers, tokens=2000))
        if not os.read(process.stdout.fileno(), 1):
            raise AssertionError(f"no text: {process.communicate()}\n{self.log()[-800:]}")
        return process

    def ends(self, process, code, *words, within):
        """From now on; returns when, in words."""
        start = time.monotonic()
        try:
            out, err = process.communicate(timeout=within + 20)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running; the worker: {self.log()[-800:]}")
        self.near.running.remove(process)
        ended = Ended(process.returncode, out, err, time.monotonic() - start)
        self.judge(ended, code, words, within)
        return f"told after {ended.seconds:.2f} s"


@contextlib.contextmanager
def machines(program, model, worker=True, other=False):
    """Two that trust each other, and far's worker."""
    with hosts("near", "far", *["other"] * other) as made:
        them = Machines(program, model, *made)
        if worker:
            them.trust_each_other()
            them.start_worker()
        yield them
