#!/usr/bin/env python3
"""Judges `dhole generate --peers` over RDMA: devices of a library that plays them, one a process.

    rdma.py --dhole PROGRAM --fake-verbs LIBRARY [--model FILE] [--only TEXT]

Each machine is a configuration directory of its own, as in cluster.py, with RDMA devices of its own.
"""

import contextlib
import os
import signal
import sys
import tempfile

import cluster
from cluster import FAILED, LIMIT, LOST, PATIENCE, SHORT, USAGE, Generation, Worker
from harness import Suite, arguments, check, complain, sentence, unable


class Judge(cluster.Judge):
    def __init__(self, args, scratch):
        super().__init__(args, scratch)
        self.fabric = tempfile.mkdtemp(dir=scratch)
        self.dhole.env["DHOLE_VERBS_LIBRARY"] = os.path.join(scratch, "no-library.so")

    def equip(self, machine, number, devices="card0; card1"):
        """Addresses that no other machine's devices have."""
        described = "; ".join(f"{device.strip()} host={10 * number + i}"
                              for i, device in enumerate(devices.split(";"), 1))
        machine.dhole.env.update(DHOLE_VERBS_LIBRARY=self.args.fake_verbs,
                                 DHOLE_FAKE_VERBS=described, DHOLE_FAKE_FABRIC=self.fabric)

    def strip(self, machine):
        machine.dhole.env["DHOLE_VERBS_LIBRARY"] = os.path.join(self.scratch, "no-library.so")

    @contextlib.contextmanager
    def pack(self, *names, devices=None, named=None):
        """As in cluster.py; devices["beta"] are those that beta has, None being no library, and
        named["beta"] those that it is told to take."""
        devices, named = devices or {}, named or {}
        alpha, *others = self.machines("alpha", *names)
        for number, machine in enumerate([alpha, *others], 1):
            self.equip(machine, number, devices.get(machine.name, "card0; card1") or "card0")
            if devices.get(machine.name, "") is None:
                self.strip(machine)
        with contextlib.ExitStack() as stack:
            for machine in others:
                machine.trust(alpha)
            workers = [stack.enter_context(Worker(machine, *named.get(machine.name, [])))
                       for machine in others]
            for machine in others:
                alpha.trust(machine)
            yield alpha, workers

    def says_the_same(self, alpha, workers, *options):
        result = alpha.answer("--backend", "jaccl", *options,
                              peers=[worker.machine for worker in workers])
        for key in "text", "tokens", "stop":
            check(result[key] == self.expected()[key], f"{key}: {result[key]!r}")
        check(result["plain_bytes"] == 0 and result["sealed_bytes"] > 8 * 576 * 4, f"{result}")

    def same_text(self, parallel, *names):
        with self.pack(*names) as (alpha, workers):
            for _ in range(2):
                self.says_the_same(alpha, workers, "--parallel", parallel)
            for worker in workers:
                worker.says("is done")

    def named(self):
        """Only these reach each other."""
        with self.pack("beta", devices={"alpha": "card0; card1 net=1", "beta": "card0; card1; card2 net=1"},
                       named={"beta": ["--devices", "card2"]}) as (alpha, workers):
            self.says_the_same(alpha, workers, "--devices", "card1")
            self.says_the_same(alpha, workers)
            ended = alpha.generate(*SHORT, "--backend", "jaccl", "--devices", "card0",
                                   peers=[workers[0].machine])
            check(ended.code in (FAILED, LOST), f"{ended}")
            complain(ended, ended.code, "no RDMA device reaches rank")

    def refused(self, words, devices=None, named=None):
        """The machine at fault is named on all, at once, and the next request works."""
        with self.pack("beta", "gamma", devices=devices, named=named) as (alpha, workers):
            machines = [worker.machine for worker in workers]
            ended = alpha.generate(*SHORT, "--backend", "jaccl", peers=machines)
            sentence(ended, FAILED, *words)
            check(ended.seconds < LIMIT + PATIENCE, f"after {ended.seconds} s")
            for worker in workers:
                for word in words:
                    worker.says(word)
            result = alpha.answer("--backend", "ring", peers=machines)
            check(result["tokens"] == self.expected()["tokens"], "another answer afterwards")

    def unreachable(self):
        """The devices of gamma reach nobody's, and nobody waits for it."""
        with self.pack("beta", "gamma", devices={"gamma": "card0 net=1"}) as (alpha, workers):
            ended = alpha.generate(*SHORT, "--backend", "jaccl",
                                   peers=[worker.machine for worker in workers])
            check(ended.code in (FAILED, LOST), f"{ended}")
            complain(ended, ended.code, "no RDMA device reaches rank")
            check(ended.seconds < LIMIT + PATIENCE, f"after {ended.seconds} s")
            for worker in workers:
                worker.says("failed")
            self.says_the_same(alpha, workers[:1])

    def killed(self):
        with self.pack("beta", "gamma") as (alpha, (beta, gamma)):
            with Generation(alpha, [beta.machine, gamma.machine], "--backend", "jaccl") as generation:
                beta.kill(signal.SIGKILL)
                generation.ends(LOST, "beta", seconds=LIMIT + PATIENCE)
            self.says_the_same(alpha, [gamma])

    def usage(self):
        alpha, = self.machines("alpha")
        for args, word in (
            (["join", "--devices", "card0", "token"], "--listen"),
            (["join", "--listen", "127.0.0.1:0", "--devices", "card0,,card1"], "--devices"),
            (["generate", "--model", "m", "--prompt", "p", "--peers", "a", "--backend", "jaccl",
              "--devices", "a card"], '"a card"'),
            (["generate", "--model", "m", "--prompt", "p", "--peers", "a", "--devices", "card0"], "any"),
        ):
            sentence(alpha.run(*args), USAGE, word)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", default=os.environ.get("DHOLE_TEST_MODEL"))
    parser.add_argument("--fake-verbs", required=True, help="the library of tests/rdma/fake")
    args = parser.parse_args()
    args.fake_verbs = os.path.abspath(args.fake_verbs)
    missing = None if args.model else "no model, neither --model nor DHOLE_TEST_MODEL is set"
    if not os.path.exists(args.fake_verbs):
        missing = "no fake libibverbs was built"
    if unable(missing):
        return 0
    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args, scratch)
        suite.case("usage", judge.usage)
        suite.case("same-text/pp-2", judge.same_text, "pp", "beta")
        suite.case("same-text/tp-3", judge.same_text, "tp", "beta", "gamma")
        suite.case("named", judge.named)
        suite.case("killed", judge.killed)
        suite.case("refused/no-library", judge.refused, ["beta", "no RDMA", "libibverbs1"], {"beta": None})
        suite.case("refused/no-device", judge.refused, ["gamma", "not active"], {"gamma": "card0 port=down"})
        suite.case("refused/unknown-device", judge.refused, ["beta", "card9", "card0, card1"], None,
                   {"beta": ["--devices", "card9"]})
        suite.case("refused/coordinator", judge.refused, ["rank 0", "no RDMA"], {"alpha": None})
        suite.case("unreachable", judge.unreachable)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
