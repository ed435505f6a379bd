#!/usr/bin/env python3
"""Judges jaccl on soft-RoCE. Runs inside the machines of script/rdma-vm, on both if there are two:

    real.py one --model FILE [--only TEXT]     --devices 4
    real.py fast [--only TEXT]                 beside perftest
    real.py two [--only TEXT]                  --machines 2 --devices 2
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cli"))
from harness import Suite, check  # noqa: E402

import machine as machines  # noqa: E402

FAILED = 3      # of test_rdma_work
SECONDS = 120  # for a rank to do its work
ENDS_IN = 30   # for a group to end when something is lost: calls of test_rdma_work may take 8 s
ENDLESS = 10 ** 9
PROMPT, TOKENS = "Wolves hunt in", 4


class Ranks:
    """Processes that form a group over these devices: `devices[rank]` lists those of a rank."""

    port = 9000

    def __init__(self, hosts, devices, words, kind="rc", ring=False):
        self.hosts, n = hosts, len(devices)
        Ranks.port += 1
        matrix = [[None if rank == peer else devices[rank] for peer in range(n)] for rank in range(n)]
        self.numbers = []
        for rank, host in enumerate(hosts):
            path = f"/run/devices.{Ranks.port}.{rank}.json"
            host.shell(f"echo '{json.dumps(matrix)}' >{path}")
            self.numbers.append(host.start(words, {
                "JACCL_RANK": str(rank), "JACCL_IBV_DEVICES": path, "JACCL_RING": str(int(ring)),
                "JACCL_COORDINATOR": f"10.0.0.1:{Ranks.port}", "DHOLE_RDMA_QP": kind,
                "DHOLE_SEAL": "off", "DHOLE_BACKEND": "jaccl"}))

    def joined(self):
        for rank, (host, number) in enumerate(zip(self.hosts, self.numbers)):
            if not host.joined(number, SECONDS):
                raise AssertionError(f"rank {rank} has not joined: {host.wait(number, 0)}")

    def signal(self, rank, which):
        self.hosts[rank].signal(self.numbers[rank], which)

    def wait(self, seconds=SECONDS):
        """Exit code, stdout and stderr of each."""
        return [tuple(host.wait(number, seconds)) for host, number in zip(self.hosts, self.numbers)]


def run(*args, **options):
    """What rank 0 printed of a group that must succeed."""
    ended = Ranks(*args, **options).wait()
    check([code for code, _, _ in ended] == [0] * len(ended), f"{ended}")
    return ended[0][1]


def sequences(count):
    return ["test_rdma_work", "sequences", str(count)]


def packets_sent(host, device):
    code, text = host.shell(f"cat /sys/class/infiniband/{device}/ports/1/hw_counters/sent_pkts")
    check(code == 0, text)
    return int(text)


def right(hosts, devices, count, kind, ring=False):
    """Every device must have carried a part of it."""
    used = [(host, device) for host, names in zip(hosts, devices) for device in names]
    before = [packets_sent(*use) for use in used]
    run(hosts, devices, sequences(count), kind=kind, ring=ring)
    for use, was in zip(used, before):
        check(packets_sent(*use) - was > count / 10, f"{use[1]} has carried next to nothing")
    return f"{count} sequences"


# One machine.

def pairs_of(ranks):
    return [[f"rxe{rank % 2}"] for rank in range(ranks)]


def rails_of(ranks):
    """The second rank lists its devices the other way round."""
    return [[f"rxe{rank % 2}", f"rxe{2 + rank % 2}"][::1 - 2 * (rank % 2)] for rank in range(ranks)]


def shell(line):
    code, text = here.shell(line)
    check(code == 0, text)
    return text


def generate(model, *options, settings=""):
    return json.loads(shell(f"{settings} dhole generate --model {model} --prompt '{PROMPT}' "
                            f"--max-tokens {TOKENS} --json " + " ".join(options)))


@functools.cache
def alone(model):
    return generate(model, "--ranks 1")


def check_same(model, split):
    check(all(split[key] == alone(model)[key] for key in ("tokens", "text")), f"{split}, {alone(model)}")
    return f"{split['text']!r}, {split['decode_tps']:.2f} tokens/s"


def same_text(model):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([[None, "rxe0"], ["rxe1", None]], file)
        file.flush()
        return check_same(model, generate(model, "--ranks 2 --parallel tp --backend jaccl --devices", file.name))


def with_a_worker(model):
    """A machine of its own but for its address; each has one end of both cables."""
    address, names = "127.0.0.1:7777", ("alpha", "beta")
    alpha, beta = (f"XDG_CONFIG_HOME={tempfile.mkdtemp()}" for _ in names)
    shell(f"{beta} dhole trust add alpha $({alpha} dhole id) && {alpha} dhole trust add beta $({beta} dhole id) {address}")
    worker = here.start(["dhole", "join", "--listen", address, "--name", "beta", "--devices", "rxe1,rxe3",
                         "--threads", "1", "--model", model], dict([beta.split("=")]))
    shell(f"for i in $(seq 600); do ss -Htln src {address} | grep -q . && exit; sleep 0.1; done; exit 1")
    before = [packets_sent(here, f"rxe{i}") for i in range(4)]
    split = generate(model, "--peers beta --parallel tp --backend jaccl --devices rxe0,rxe2", settings=alpha)
    for i in range(4):
        check(packets_sent(here, f"rxe{i}") > before[i] + 10, f"rxe{i} has carried next to nothing")
    check(split["plain_bytes"] == 0 and split["sealed_bytes"] > 0, f"{split}")
    here.signal(worker, signal.SIGTERM)
    ended = here.wait(worker, SECONDS)
    check(ended[0] == 0, f"{ended}")
    return check_same(model, split)


def one(suite, args):
    for kind in "rc", "uc":
        for ranks, count in (2, 4000), (3, 3000), (4, 3000):
            suite.case(f"sequences/{kind}-{ranks}", right, [here] * ranks, pairs_of(ranks), count, kind)
        suite.case(f"rails/{kind}", right, [here] * 2, rails_of(2), 500, kind)
        suite.case(f"ring/{kind}", right, [here] * 4, pairs_of(4), 500, kind, True)
    suite.case("generate/ranks", same_text, args.model)
    suite.case("generate/peers", with_a_worker, args.model)


# Beside perftest.

def perftest(program, *options):
    """The line of figures that the client prints."""
    words = [program, "-F", "-x", "1", *options]
    server = here.start([*words, "-d", "rxe0"], {})
    listening = here.shell("for i in $(seq 100); do ss -Htln sport = 18515 | grep -q . && exit; sleep 0.1; done")
    check(listening[0] == 0, "perftest does not listen")
    client = here.wait(here.start([*words, "-d", "rxe1", "10.0.0.1"], {}), SECONDS)
    here.wait(server, SECONDS)
    figures = re.findall(r"^ \d+ +\d+ +.*$", client[1], re.M)
    check(figures, f"no figures: {client}")
    return [float(word) for word in figures[-1].split()]


def their_latency():
    return perftest("ib_send_lat", "-s", "8", "-n", "1000")[4]


def their_bandwidth():
    return perftest("ib_send_bw", "-s", str(1 << 20), "-n", "100")[3] * (1 << 20) / 1e6


def bench(operation, size, calls):
    text = run([here] * 2, pairs_of(2), ["dhole", "bench", operation, "--min", str(size), "--max", str(size),
                                         "--iterations", str(calls), "--json"])
    return json.loads(text)["sizes"][0]


def our_stream():
    text = run([here] * 2, pairs_of(2), ["test_rdma_work", "stream", str(1 << 20), "100"])
    return float(re.search(r"([\d.]+) MB/s", text)[1])


MEASURED = [
    # ours, theirs, the best of several, unit, what ours / theirs must be
    ("send of 8 bytes", lambda: bench("sendrecv", 8, 1000)["p50_us"], their_latency, min, "us",
     lambda ratio: ratio <= 1.35),
    ("all_sum of 8 bytes", lambda: bench("all_sum", 8, 1000)["p50_us"], their_latency, min, "us",
     lambda ratio: ratio <= 1.6),
    ("send of 1 MiB", our_stream, their_bandwidth, max, "MB/s", lambda ratio: ratio >= 0.85),
    ("all_sum of 1 MiB", lambda: bench("all_sum", 1 << 20, 50)["bus_gb_per_s"] * 1e3, their_bandwidth,
     max, "MB/s", lambda ratio: ratio >= 0.7),
]


def measure(ours, theirs, best, unit, good):
    """Interleaved, as the machine below is slower at one time than at another."""
    mine, others = [], []
    for _ in range(3):
        others.append(theirs())
        mine.append(ours())
    ratio = best(mine) / best(others)
    figures = f"{best(mine):.2f} {unit}, perftest {best(others):.2f} {unit}, ratio {ratio:.2f}"
    check(good(ratio), figures)
    return figures


def fast(suite, args):
    for name, *how in MEASURED:
        suite.case(f"fast/{name}", measure, *how)


# Two machines.

class disturbed:
    """Both ends of the first network, while it lasts."""

    def __init__(self, hosts, how):
        self.hosts, self.how = hosts, how

    def __enter__(self):
        for host in self.hosts:
            code, text = host.shell(f"tc qdisc add dev eth0 root netem {self.how}")
            check(code == 0, text)

    def __exit__(self, *_):
        for host in self.hosts:
            host.shell("tc qdisc del dev eth0 root")


def check_lossy(ended, kind):
    codes = {code for code, _, _ in ended}
    check(codes <= ({0} if kind == "rc" else {0, FAILED}), f"{ended}")
    check(all(text for code, _, text in ended if code), f"an error without a word: {ended}")
    return ended[0][2].strip() or "all arrived"


def lossy(hosts, how, kind):
    """RC gives what was sent. UC does or ends with an error, maybe as it joins."""
    with disturbed(hosts, how):
        return check_lossy(Ranks(hosts, [["rxe0"]] * 2, sequences(300), kind=kind).wait(), kind)


def lossy_later(hosts, how, kind):
    """The same once they have joined, over both rails at a time too."""
    for devices in [["rxe0"]] * 2, [["rxe0", "rxe1"]] * 2:
        ranks = Ranks(hosts, devices, sequences(2000), kind=kind)
        ranks.joined()
        with disturbed(hosts, how):
            said = check_lossy(ranks.wait(), kind)
    return said


def lost(hosts, what, kind, victim, words):
    """Within seconds both ranks, or the one that is left, must have failed, and say who: the words
    of each."""
    ranks = Ranks(hosts, [["rxe0"]] * 2, sequences(ENDLESS), kind=kind)
    ranks.joined()
    with what(ranks):
        ended = ranks.wait(ENDS_IN)
    for rank, (code, _, text) in enumerate(ended):
        if rank != victim:
            check(code == FAILED and words[rank] in text, f"rank {rank}: {code} {text}")
    return ended[0][2].strip()


@contextlib.contextmanager
def link_down(ranks):
    """Nothing passes, and then one end is down. In this order, as an emulated card keeps the packets
    that it cannot pass on, and soft-RoCE waits for these up to 50 s when a queue pair is destroyed."""
    with disturbed(ranks.hosts, "loss 100%"):
        time.sleep(0.2)
        ranks.hosts[1].shell("ip link set eth0 down")
        yield
        ranks.hosts[1].shell("ip link set eth0 up")


@contextlib.contextmanager
def signalled(which, ranks):
    ranks.signal(1, which)
    yield


DISTURBANCES = (("loss", "loss 1%"), ("reordering", "delay 2ms reorder 25% 50%"), ("delay", "delay 10ms"))


def two(suite, args):
    hosts = [here, machines.other()]
    for kind in "rc", "uc":
        suite.case(f"sequences/{kind}", right, hosts, [["rxe0"]] * 2, 1000, kind)
        suite.case(f"rails/{kind}", right, hosts, [["rxe0", "rxe1"], ["rxe1", "rxe0"]], 300, kind)
        for name, how in DISTURBANCES:
            suite.case(f"{name}/{kind}", lossy, hosts, how, kind)
        if kind == "uc":
            for name, how in DISTURBANCES[:2]:
                suite.case(f"{name}-later/{kind}", lossy_later, hosts, how, kind)
        suite.case(f"link-down/{kind}", lost, hosts, link_down, kind, None,
                   ["rank", "RDMA device rxe0 port 1: "])  # what it was in, or that its port is down
        for name, which in ("killed", machines.KILL), ("stopped", machines.STOP):
            suite.case(f"{name}/{kind}", lost, hosts, functools.partial(signalled, which), kind, 1, ["rank 1"])
    hosts[1].end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("one", "fast", "two"))
    parser.add_argument("--model")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    if os.environ["MACHINE"] == "1":
        machines.serve()
        return 0
    suite = Suite(args.only)
    {"one": one, "fast": fast, "two": two}[args.what](suite, args)
    return suite.finish()


here = machines.Machine()
sys.exit(main())
