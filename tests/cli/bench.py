#!/usr/bin/env python3
"""Judges `dhole bench`: what it prints, that --check finds a wrong element, which group it joins,
and that it ends well when a rank or the person at the keyboard does not.

    bench.py --dhole PROGRAM [--only TEXT]
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile

from harness import Dhole, Skip, Suite, arguments, check, session, unable, wait_until

DONE, FAILED, USAGE, LOST, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
SOON = 8  # seconds in which a lost rank must have ended the others, on a busy machine too

OPERATIONS = ["all_sum", "all_gather", "sum_scatter", "broadcast", "all_to_all", "sendrecv",
              "barrier"]
BACKENDS = ["any", "ring", "shm"]
TYPES = ["bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f16", "f32", "f64", "bf16",
         "c64", "float32"]
KEYS = ["version", "machine", "operation", "dtype", "backend", "ranks", "sealed", "checked", "sizes"]
SIZE_KEYS = ["bytes", "count", "calls", "p50_us", "p99_us", "alg_gb_per_s", "bus_gb_per_s", "wrong"]
BUS = {"all_sum": lambda n: 2 * (n - 1) / n, "all_gather": lambda n: (n - 1) / n,
       "sum_scatter": lambda n: (n - 1) / n, "all_to_all": lambda n: (n - 1) / n}
LINK_KEYS = ["version", "machine", "openssl", "bytes", "lanes", "trip_bytes", "rounds", "seconds",
             "measured", "figures"]
LINK_MEASURED = ["link", "link_lanes", "tls", "records", "tcp", "link_trip", "tls_trip",
                 "records_trip", "tcp_trip", "handshake"]
LINK_WANTED = {"stream_to_tls": ("at_least", 1.5), "stream_to_records": ("at_least", 0.9),
               "lanes_to_lane": ("at_least", 1), "trip_to_tcp": ("at_most", 1.4),
               "handshake_ms": ("at_most", 5)}
HAS_PARTS = ["all_gather", "sum_scatter", "all_to_all"]

# Options after `bench`, and what the complaint must quote.
BAD = [
    ([], "all_sum"),
    (["frobnicate"], "frobnicate"),
    (["all_sum", "barrier"], "barrier"),
    (["all_sum", "--frob"], "--frob"),
    (["all_sum", "-n"], "-n"),
    (["all_sum", "-n", "0"], "0"),
    (["all_sum", "-n", "65"], "65"),
    (["sendrecv", "-n", "1"], "two"),
    (["all_sum", "--backend", "mem"], "mem"),
    (["all_sum", "--backend", "tin cans"], "tin cans"),
    (["all_sum", "--dtype", "f33"], "f33"),
    (["all_sum", "--seal", "maybe"], "maybe"),
    (["all_sum", "--min", "64", "--max", "8"], "64"),
] + [
    (["all_sum", option, value], value)
    for option in ("--min", "--max") for value in ("0", "-8", "x", "8Q", "8KK", "2T", "1e3")
] + [
    (["all_sum", "--time", value], value) for value in ("0", "-1", "soon", "inf")
] + [
    (["all_sum", "--iterations", value], value) for value in ("0", "-1", "many")
] + [
    (["link", *words], words[-1]) for words in
    (["--frob"], ["further"], ["--lanes", "1"], ["--lanes", "9"], ["--size", "0"], ["--size", "2G"],
     ["--trip", "x"], ["--rounds", "0"], ["--seconds", "0"], ["--seconds", "61"], ["--size"])
]

# Stands before the library, spoils the last element of what it gives, and leaves a mark.
SPOILER = """
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>
int dhole_all_sum(void *group, const void *in, void *out, size_t count, int dtype)
{
    int (*real)(void *, const void *, void *, size_t, int);
    int err;

    close(open(MARK, O_WRONLY | O_CREAT, 0600));
    *(void **)&real = dlsym(RTLD_NEXT, "dhole_all_sum");
    err = real(group, in, out, count, dtype);
    if (err == 0 && count > 4)
        ((float *)out)[count - 1] += 1;
    return err;
}
"""


def sentence(ended, code, *words):
    check(ended.code == code, f"expected exit code {code}: {ended}")
    text = ended.err.decode(errors="replace")
    check(text.startswith("dhole") and text.count("\n") == 1, f"not a sentence: {text!r}")
    for word in words:
        check(word in text, f"{word!r} is not in {text!r}")


class Judge:
    def __init__(self, path, scratch):
        self.dhole, self.scratch = Dhole(path, None), scratch

    def bench(self, *args, **options):
        return self.dhole.run("bench", *args, **options)

    def measure(self, *args, **options):
        """The JSON object of a run that must succeed."""
        ended = self.bench(*args, "--json", "--check", **options)
        check(ended.code == DONE and not ended.err, f"{args}: {ended}")
        result = json.loads(ended.out)
        check(list(result) == KEYS, f"keys {list(result)}")
        for size in result["sizes"]:
            check(list(size) == SIZE_KEYS, f"keys {list(size)}")
            check(size["wrong"] == 0, f"{args}: {size}")
            check(0 < size["p50_us"] <= size["p99_us"], f"{args}: {size}")
        return result

    def operation(self, name, backend, ranks):
        result = self.measure(name, "-n", ranks, "--backend", backend, "--min", 8, "--max", "64K",
                              "--iterations", 3)
        check((result["operation"], result["ranks"], result["sealed"]) == (name, ranks, False),
              f"{result}")
        if name == "barrier":
            check([size["bytes"] for size in result["sizes"]] == [0], f"{result}")
            return
        for size in result["sizes"]:
            parts = ranks if name in HAS_PARTS else 1
            check(size["bytes"] == 4 * size["count"] * parts, f"{size}")
            check(size["calls"] == 3, f"{size}")
            bus = size["alg_gb_per_s"] * BUS.get(name, lambda n: 1)(ranks)
            check(abs(size["bus_gb_per_s"] - bus) < 1e-9 + bus * 1e-6, f"{size}")
        sizes = [size["bytes"] for size in result["sizes"]]
        check(len(set(sizes)) == len(sizes) and sizes[-1] > 65000, f"{sizes}")

    def types(self):
        for dtype in TYPES:
            for operation in "all_sum", "sum_scatter", "all_to_all":
                self.measure(operation, "-n", 3, "--dtype", dtype, "--min", 100, "--max", 5000,
                             "--iterations", 1)

    def table(self):
        ended = self.bench("all_sum", "-n", 2, "--min", 8, "--max", 32, "--time", 0.02)
        check(ended.code == DONE and not ended.err, f"{ended}")
        lines = ended.out.decode().splitlines()
        check("all_sum of float32, 2 ranks" in lines[0] and "in the clear" in lines[0], lines[0])
        check([line.split()[0] for line in lines[-3:]] == ["8", "16", "32"], f"{lines}")
        check("wrong" not in ended.out.decode(), "a check that was not asked for")

    def one_rank(self):
        self.measure("all_gather", "-n", 1, "--max", 64, "--iterations", 2)

    def sealed(self):
        for backend in "any", "ring":
            result = self.measure("all_sum", "-n", 3, "--seal", "on", "--backend", backend, "--max",
                                  64, "--iterations", 2)
            check(result["sealed"], f"{result}")

    def usage(self):
        for words, quoted in BAD:
            try:
                sentence(self.bench(*words), USAGE, quoted, "help bench")
            except AssertionError as error:
                raise AssertionError(f"{words}: {error}")
        page = self.dhole.run("help", "bench").out.decode()
        for word in (*OPERATIONS, "bench link", "--lanes", "--trip", "--min", "--max", "--dtype", "--check", "--json", "--seal"):
            check(word in page, f"help bench does not name {word}")
        return f"{len(BAD)} command lines"

    def devices(self):
        """Before any rank is started, what is missing or too much is said."""
        sentence(self.bench("all_sum", "--backend", "jaccl"), FAILED, "jaccl", "--devices FILE")
        sentence(self.bench("all_sum", "--backend", "ring", "--devices", "x.json"), FAILED, "--devices", "ring")
        sentence(self.bench("all_sum", "--devices", "no/such.json"), FAILED, "no/such.json")

    def wrong(self):
        """One wrong element is found, and only from the size on where there is one."""
        source, library, mark = (os.path.join(self.scratch, name)
                                 for name in ("spoil.c", "spoil.so", "mark"))
        with open(source, "w") as file:
            file.write(SPOILER)
        subprocess.run(["cc", "-D_GNU_SOURCE", f'-DMARK="{mark}"', "-shared", "-fPIC", source, "-o",
                        library, "-ldl"], check=True)
        env = {**self.dhole.env, "LD_PRELOAD": library}
        ended = self.bench("all_sum", "--max", 32, "--iterations", 2, "--check", "--json", env=env)
        if not os.path.exists(mark):
            raise Skip("this program is linked statically, so nothing can stand before the library")
        sentence(ended, FAILED, "wrong", "all_sum")
        found = [size["wrong"] for size in json.loads(ended.out)["sizes"]]
        check(found == [0, 0, 1], f"{found}: {ended}")

    # Which group it joins.

    @contextlib.contextmanager
    def host_file(self, ranks):
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(ranks)]
        hosts = [[f"127.0.0.1:{listener.getsockname()[1]}"] for listener in sockets]
        for listener in sockets:
            listener.close()
        with tempfile.NamedTemporaryFile("w", dir=self.scratch, suffix=".json") as file:
            json.dump(hosts, file)
            file.flush()
            yield file.name

    def environment(self):
        """Two ranks, of which only the first prints."""
        with self.host_file(2) as hosts:
            ranks = [self.dhole.start("bench", "all_sum", "--json", "--check", "--max", "64",
                                      "--iterations", "2",
                                      env={**self.dhole.env, "DHOLE_HOSTFILE": hosts,
                                           "DHOLE_RANK": str(rank)}) for rank in range(2)]
            outputs = [rank.communicate(timeout=60) for rank in ranks]
        check([rank.returncode for rank in ranks] == [DONE, DONE], f"{outputs}")
        check(json.loads(outputs[0][0])["ranks"] == 2, f"{outputs}")
        check(not outputs[1][0] and not outputs[1][1], f"{outputs}")

    def two_answers(self):
        """Ranks are started here or named by the environment, not both."""
        with self.host_file(2) as hosts:
            env = {**self.dhole.env, "DHOLE_HOSTFILE": hosts, "DHOLE_RANK": "0"}
            sentence(self.bench("all_sum", "-n", 2, env=env), FAILED, "-n 2", "DHOLE_")
            sentence(self.bench("all_sum", "--seal", "on", env=env), FAILED, "--seal", "DHOLE_")

    def launched(self):
        ended = self.dhole.run("launch", "-n", 2, "--no-prefix", "--", self.dhole.path, "bench",
                               "all_gather", "--json", "--check", "--max", 64, "--iterations", 2)
        check(ended.code == DONE, f"{ended}")
        check(json.loads(ended.out)["ranks"] == 2, f"{ended}")

    # A link beside its peers.

    def link(self):
        ended = self.bench("link", "--json", "--seconds", 0.02, "--rounds", 3, "--size", "300K",
                           "--trip", 100, "--lanes", 3)
        check(ended.code == DONE and not ended.err, f"{ended}")
        result = json.loads(ended.out)
        check(list(result) == LINK_KEYS, f"{result}")
        check((result["bytes"], result["lanes"], result["trip_bytes"], result["rounds"]) ==
              (300 << 10, 3, 100, 3), f"{result}")
        check(list(result["measured"]) == LINK_MEASURED, f"{result}")
        check(list(result["figures"]) == list(LINK_WANTED), f"{result}")
        for value in *result["measured"].values(), *result["figures"].values():
            check(0 < value["min"] <= value["median"] <= value["max"], f"{value}")
        for name, (which, wanted) in LINK_WANTED.items():
            figure = result["figures"][name]
            reached = (figure["median"] >= wanted if which == "at_least" else
                       figure["median"] <= wanted)
            check(figure[which] == wanted and figure["reached"] == reached, f"{figure}")
        # What seals cannot be faster than what does not; and one round's ratio is that of its values.
        check(result["measured"]["link"]["median"] < 2 * result["measured"]["tcp"]["median"],
              f"{result}")
        one = json.loads(self.bench("link", "--json", "--seconds", 0.01, "--rounds", 1).out)
        ratio = one["measured"]["link"]["median"] / one["measured"]["tls"]["median"]
        check(abs(one["figures"]["stream_to_tls"]["median"] / ratio - 1) < 1e-9, f"{one}")

    def link_table(self):
        ended = self.bench("link", "--seconds", 0.005, "--rounds", 1)
        check(ended.code == DONE and not ended.err, f"{ended}")
        text = ended.out.decode()
        for words in "messages of 1048576 bytes, lanes 2", "TLS 1.3, GB/s", "handshake, ms":
            check(words in text, f"{words!r} is not in {text!r}")
        judged = [line for line in text.splitlines() if line.endswith(("reached", "missed"))]
        check(len(judged) == len(LINK_WANTED), text)

    # How it ends.

    @contextlib.contextmanager
    def running(self, ranks):
        """A long run that has been joined by all."""
        with self.long(ranks, "all_sum", "-n", str(ranks), "--iterations", "10000000") as found:
            yield found

    @contextlib.contextmanager
    def long(self, ranks, *words):
        process = self.dhole.start("bench", *words, stdin=subprocess.DEVNULL)
        try:
            readable, _, _ = select.select([process.stdout], [], [], 30)
            check(readable and os.read(process.stdout.fileno(), 1), "no output")
            yield process, [member.pid for member in session(process.pid)]
        finally:
            for member in session(process.pid):
                os.kill(member.pid, signal.SIGKILL)
            process.communicate()

    def lost(self, ranks, victim, how):
        with self.running(ranks) as (process, pids):
            check(len(pids) == ranks, f"{pids}")
            os.kill(pids[victim], how)
            left = [pid for pid in pids if pid != pids[victim] or how == signal.SIGKILL]
            gone = wait_until(lambda: not {m.pid for m in session(process.pid)} & set(left), SOON)
            check(gone, "ranks are still running")
            if victim == 0:
                return
            check(wait_until(lambda: process.poll() is not None, SOON), "rank 0 is still running")
            error = process.stderr.read().decode()
            check(process.returncode == LOST, f"exit {process.returncode}: {error}")
            check(f"rank {victim}" in error, error)
            check(wait_until(lambda: not session(process.pid), SOON), "a stopped rank is left")

    def link_lost(self, victim):
        with self.long(2, "link", "--seconds", "60") as (process, pids):
            os.kill(pids[victim], signal.SIGKILL)
            check(wait_until(lambda: not session(process.pid), SOON), "a rank is still running")
            if victim == 1:
                error = process.stderr.read().decode()
                check(process.wait() == LOST, f"exit {process.returncode}: {error}")
                check("rank 1" in error, error)

    def link_interrupted(self):
        with self.long(2, "link", "--seconds", "60") as (process, pids):
            os.kill(pids[0], signal.SIGINT)
            check(wait_until(lambda: not session(process.pid), SOON), "a rank is still running")
            error = process.stderr.read().decode()
            check(process.wait() == INTERRUPTED, f"exit {process.returncode}: {error}")
            check(error == "dhole: interrupted\n", error)

    def interrupted(self, number, code, everyone):
        with self.running(3) as (process, pids):
            for pid in pids if everyone else pids[:1]:
                os.kill(pid, number)
            check(wait_until(lambda: process.poll() is not None, SOON), "it goes on")
            error = process.stderr.read().decode()
            check(process.returncode == code, f"exit {process.returncode}: {error}")
            check(error == "dhole: interrupted\n", error)
            check(wait_until(lambda: not session(process.pid), SOON), "a rank is left")


def main():
    args = arguments(__doc__).parse_args()
    if unable():
        return 0

    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args.dhole, scratch)
        for operation in OPERATIONS:
            for backend in BACKENDS:
                for ranks in 2, 3:
                    suite.case(f"{operation}/{backend}-{ranks}", judge.operation, operation,
                               backend, ranks)
        suite.case("types", judge.types)
        suite.case("table", judge.table)
        suite.case("one-rank", judge.one_rank)
        suite.case("sealed", judge.sealed)
        suite.case("usage", judge.usage)
        suite.case("devices", judge.devices)
        suite.case("wrong", judge.wrong)
        suite.case("environment", judge.environment)
        suite.case("two-answers", judge.two_answers)
        suite.case("launched", judge.launched)
        suite.case("link", judge.link)
        suite.case("link-table", judge.link_table)
        for victim in range(2):
            suite.case(f"link-lost/rank-{victim}", judge.link_lost, victim)
        suite.case("link-interrupted", judge.link_interrupted)
        for how in signal.SIGKILL, signal.SIGSTOP:
            for victim in range(3):
                suite.case(f"lost/{how.name}-rank-{victim}", judge.lost, 3, victim, how)
        for number, code in (signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED):
            for everyone in True, False:
                whom = "everyone" if everyone else "rank-0"
                suite.case(f"interrupt/{number.name}-{whom}", judge.interrupted, number, code,
                           everyone)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
