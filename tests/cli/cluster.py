#!/usr/bin/env python3
"""Judges several machines at work: pairing, `dhole join`, `dhole peers`, `dhole generate --peers`.

    cluster.py --dhole PROGRAM [--model FILE] [--only TEXT]

Each machine is a configuration directory of its own, all are on loopback. The model is
SmolLM2-135M-Instruct, by default the file that DHOLE_TEST_MODEL names.
"""

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "reference"))

import make_model
from harness import (Dhole, Suite, arguments, check, complain, sentence, session, tcp_addresses, unable,
                     wait_until)

DONE, FAILED, USAGE, LOST, AUTH, INTERRUPTED = 0, 1, 2, 3, 4, 130
PATIENCE = 20  # seconds for what takes a moment on an idle machine
LIMIT = 6      # seconds in which a lost machine must have ended the others
PROMPT = "Once upon a time"
SHORT, LONG = ["--max-tokens", "8"], ["--max-tokens", "2000"]

PEER_KEYS = ["name", "fingerprint", "trusted", "addresses", "address", "state", "why", "error",
             "round_trip_us", "bytes_per_second", "version", "model", "model_loaded", "in_flight",
             "memory_pressure"]

# Arguments of a command, and what the complaint must quote.
BAD = [
    (["join"], "TOKEN"),
    (["join", "a", "b"], "b"),
    (["join", "--once", "token"], "--listen"),
    (["join", "token", "--model", "m"], "--listen"),
    (["join", "--listen", "127.0.0.1:0", "--address", "10.0.0.2:7777"], "--address"),
    (["join", "--listen", "127.0.0.1:0", "--threads", "0"], "0"),
    (["join", "--listen", "127.0.0.1:0", "--name", "a b"], "a b"),
    (["join", "--listen", "nowhere"], "nowhere"),
    (["join", "--listen", ""], "--listen"),
    (["join", "token", "--address", "10.0.0.2"], "10.0.0.2"),
    (["join", "--frob"], "--frob"),
    (["peers", "--timeout", "0"], "0"),
    (["peers", "attic"], "attic"),
] + [
    (["generate", "--model", "m", "--prompt", "p", *options], word) for options, word in (
        (["--peers", ""], "--peers"),
        (["--peers", "a,,b"], "--peers"),
        (["--peers", "a,b,a"], "a twice"),
        (["--peers", "a,b,c,d,e,f,g,h"], "7"),
        (["--peers", "a", "--ranks", "2"], "--ranks"),
        (["--peers", "a", "--devices", "d"], "--devices"),
        (["--peers", "a", "--seal", "off"], "--seal off"),
    )
]


class Machine:
    """A configuration directory, and the commands that run with it."""

    def __init__(self, path, model, folder, name):
        self.name, self.folder = name, os.path.join(folder, name)
        os.mkdir(self.folder)
        self.dhole = Dhole(path, model, {"XDG_CONFIG_HOME": self.folder})
        for variable in "DHOLE_IDENTITY", "DHOLE_TRUST", "DHOLE_LOG", "NOTIFY_SOCKET":
            self.dhole.env.pop(variable, None)
        self.address = ""

    def run(self, *args, **options):
        return self.dhole.run(*args, **options)

    def must(self, *args):
        ended = self.run(*args)
        check(ended.code == DONE, f"{self.name}: {args}: {ended}")
        return ended.out.decode()

    def fingerprint(self):
        return self.must("id").strip()

    def trust(self, other):
        self.must("trust", "add", other.name, other.fingerprint(),
                  *([other.address] if other.address else []))

    def generate(self, *options, peers, **run):
        return self.run("generate", "--model", self.dhole.model, "--raw", "--prompt", PROMPT,
                        "--threads", "1", "--peers", ",".join(peer.name for peer in peers),
                        *options, **run)

    def answer(self, *options, peers):
        ended = self.generate(*SHORT, "--json", *options, peers=peers)
        check(ended.code == DONE, f"{options}: {ended}")
        check(ended.err == b"", f"not a silent success: {ended}")
        return json.loads(ended.out)

    def peers(self, *options):
        result = json.loads(self.must("peers", "--json", "--timeout", "3", *options))
        check(list(result) == ["peers", "no_discovery"], f"{list(result)}")
        for peer in result["peers"]:
            check(list(peer) == PEER_KEYS, f"{list(peer)}")
        return {peer["name"]: peer for peer in result["peers"] if peer["trusted"]}

    def sees(self, other):
        return self.peers()[other.name]


class Worker:
    """`dhole join --listen` of a machine, from its first line on."""

    def __init__(self, machine, *args, listen="127.0.0.1:0", model=None, env=None):
        self.machine = machine
        self.log_file = tempfile.TemporaryFile()
        self.process = machine.dhole.start(
            "join", *args, "--listen", listen, "--name", machine.name, "--model",
            model or machine.dhole.model, "--threads", "1", stdin=subprocess.DEVNULL,
            stderr=self.log_file, env={**machine.dhole.env, **(env or {})})
        self.pid = self.process.pid
        line = rf"{machine.name} listens at (\S+),"
        check(wait_until(lambda: re.search(line, self.log()) or self.process.poll() is not None,
                         PATIENCE) and self.process.poll() is None, f"no worker: {self.log()}")
        machine.address = re.search(line, self.log()).group(1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Nothing may outlive a case, whatever became of it."""
        for member in session(self.pid):
            os.kill(member.pid, signal.SIGKILL)
        self.process.communicate()
        self.log_file.close()

    def log(self):
        self.log_file.seek(0)
        return self.log_file.read().decode(errors="replace")

    def says(self, words):
        check(wait_until(lambda: words in self.log(), PATIENCE),
              f"{self.machine.name} does not say {words!r}: {self.log()[-1500:]}")

    def kill(self, number):
        os.kill(self.pid, number)

    def stop(self, number=signal.SIGTERM):
        self.kill(number)
        code = self.process.wait(PATIENCE)
        check(code == DONE, f"{self.machine.name} ended with {code}: {self.log()[-1500:]}")
        check(not session(self.pid), "processes left behind")


class Generation:
    """A long answer over peers, from its first text on."""

    def __init__(self, machine, peers, *options):
        self.err_file = tempfile.TemporaryFile()
        self.process = machine.dhole.start(
            "generate", "--model", machine.dhole.model, "--raw", "--prompt", PROMPT, "--threads", "1",
            "--peers", ",".join(peer.name for peer in peers), *LONG, *options,
            stdin=subprocess.DEVNULL, stderr=self.err_file)

    def __enter__(self):
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        check(readable and os.read(self.process.stdout.fileno(), 1), f"no text: {self.err()}")
        return self

    def __exit__(self, *error):
        for member in session(self.process.pid):
            os.kill(member.pid, signal.SIGKILL)
        self.process.communicate()
        self.err_file.close()

    def err(self):
        self.err_file.seek(0)
        return self.err_file.read().decode(errors="replace")

    def ends(self, code, *words, seconds=PATIENCE):
        check(wait_until(lambda: select.select([self.process.stdout], [], [], 0)[0]
                         and not os.read(self.process.stdout.fileno(), 1 << 16), seconds),
              f"still running after {seconds} s: {self.err()}")
        ended = self.process.wait(PATIENCE)
        check(ended == code, f"expected exit code {code}, got {ended}: {self.err()}")
        for word in words:
            check(word in self.err(), f"{word!r} is not in {self.err()!r}")


class Judge:
    def __init__(self, args, scratch):
        self.args, self.scratch, self.cases = args, scratch, 0
        self.dhole = Dhole(args.dhole, args.model)
        self.alone = {}

    def machines(self, *names):
        self.cases += 1
        folder = os.path.join(self.scratch, str(self.cases))
        os.mkdir(folder)
        return [Machine(self.args.dhole, self.args.model, folder, name) for name in names]

    @contextlib.contextmanager
    def pack(self, *names):
        """Machine alpha, and the workers of the others; each of them and alpha trust each other."""
        alpha, *others = self.machines("alpha", *names)
        with contextlib.ExitStack() as stack:
            for machine in others:
                machine.trust(alpha)
            workers = [stack.enter_context(Worker(machine)) for machine in others]
            for machine in others:
                alpha.trust(machine)
            yield alpha, workers

    def expected(self):
        """The answer of one rank."""
        if not self.alone:
            self.alone = self.dhole.generate(PROMPT, "--raw", "--threads", "1", *SHORT)
        return self.alone

    def usage(self):
        alpha, = self.machines("alpha")
        for args, word in BAD:
            sentence(alpha.run(*args), USAGE, word)
        for command in "join", "peers":
            ended = alpha.run(command, "--help")
            check(ended.code == DONE and ended.out.startswith(b"Usage: dhole " + command.encode()),
                  f"{ended}")
        sentence(alpha.run("join", "--listen", "127.0.0.1:0", "--model", "/nowhere"), 5, "/nowhere")

    def pairing(self):
        """One token, and both trust each other; with it the worker's address."""
        alpha, beta = self.machines("alpha", "beta")
        pair = alpha.dhole.start("pair", "--name", "alpha")
        try:
            token = pair.stdout.readline().decode().strip()
            with Worker(beta, token) as worker:
                worker.says("paired with alpha")
                out, err = pair.communicate(timeout=PATIENCE)
                check(pair.returncode == DONE, f"pair: {err}")
                check(beta.address in alpha.must("trust", "list"), "the worker's address is unknown")
                check("alpha" in beta.must("trust", "list"), "alpha is not trusted")
                check(alpha.sees(beta)["state"] == "ready", f"{alpha.sees(beta)}")
                check(token not in worker.log(), "the token is in the log")
        finally:
            pair.kill()
            pair.communicate()

    def pairing_of_a_service(self):
        """The worker runs elsewhere, at an address that the other machine is told."""
        alpha, beta = self.machines("alpha", "beta")
        for address, told in ("10.0.0.2:7777", "10.0.0.2:7777"), ("0.0.0.0:7778", "127.0.0.1:7778"):
            pair = alpha.dhole.start("pair", "--name", "alpha")
            try:
                beta.must("join", pair.stdout.readline().decode().strip(), "--name", "beta", "--address", address)
                pair.communicate(timeout=PATIENCE)
                check(f" {told}\n" in alpha.must("trust", "list"), alpha.must("trust", "list"))
            finally:
                pair.kill()
                pair.communicate()

    def pairing_on_a_full_disk(self):
        """One side trusts the other then: the other one is told how to make that good."""
        def fill_disk():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        alpha, beta = self.machines("alpha", "beta")
        beta.fingerprint()
        pair = alpha.dhole.start("pair", "--name", "alpha")
        try:
            token = pair.stdout.readline().decode().strip()
            ended = beta.run("join", token, "--name", "beta", preexec_fn=fill_disk)
            advice = f"dhole trust add alpha {alpha.fingerprint()}"
            sentence(ended, FAILED, "cannot write", advice)
            check(pair.wait(PATIENCE) == DONE and "beta" in alpha.must("trust", "list"), "alpha does not trust beta")
            beta.must(*advice.split()[1:])
        finally:
            pair.kill()
            pair.communicate()

    def same_text(self, count, parallel, *options):
        names = ["beta", "gamma"][:count]
        with self.pack(*names) as (alpha, workers):
            peers = [worker.machine for worker in workers]
            result = alpha.answer("--parallel", parallel, *options, peers=peers)
            alone = self.expected()
            for key in "text", "tokens", "stop":
                check(result[key] == alone[key], f"{key}: {result[key]!r}, alone {alone[key]!r}")
            check(result["ranks"] == count + 1 and result["parallel"] == parallel, f"{result}")
            check(result["plain_bytes"] == 0 and result["sealed_bytes"] > 0, f"{result}")
            if "ring" in options:
                check(result["sealed_bytes"] > 8 * 576 * 4, f"{result}")
            for worker in workers:
                worker.says("is done")
                check(PROMPT not in worker.log() and alone["text"] not in worker.log(),
                      "the prompt or the answer is in a log")
            again = alpha.answer("--parallel", parallel, *options, peers=peers)
            check(again["tokens"] == alone["tokens"], "another answer the second time")

    def lost(self, how, victim):
        """A worker that is gone ends the request on all; the others take the next one."""
        with self.pack("beta", "gamma") as (alpha, (beta, gamma)):
            worker, other = (beta, gamma) if victim == 0 else (gamma, beta)
            with Generation(alpha, [beta.machine, gamma.machine]) as generation:
                worker.kill(how)
                generation.ends(LOST, worker.machine.name, seconds=LIMIT + PATIENCE)
            result = alpha.answer(peers=[other.machine])
            check(result["tokens"] == self.expected()["tokens"], "another answer afterwards")
            check("failed" in other.log(), other.log())

    def restarted(self):
        """The same key at the same address: what follows works."""
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]) as generation:
                beta.kill(signal.SIGKILL)
                generation.ends(LOST, "beta")
            check(alpha.sees(beta.machine)["state"] == "unavailable", "a dead worker is available")
            with Worker(beta.machine, listen=beta.machine.address) as again:
                check(alpha.sees(again.machine)["state"] == "ready", "not ready")
                alpha.answer(peers=[again.machine])

    def coordinator_lost(self, how):
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]) as generation:
                os.kill(generation.process.pid, how)
                beta.says("failed")
            alpha.answer(peers=[beta.machine])

    def interrupted(self):
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]) as generation:
                os.kill(generation.process.pid, signal.SIGINT)
                generation.ends(INTERRUPTED)
            alpha.answer(peers=[beta.machine])

    def interrupted_early(self):
        """While a worker is called that says nothing."""
        with self.pack("beta") as (alpha, (beta,)):
            beta.kill(signal.SIGSTOP)
            process = alpha.dhole.start("generate", "--model", self.args.model, "--prompt", PROMPT,
                                        "--peers", "beta", stdin=subprocess.DEVNULL)
            check(wait_until(lambda: set(tcp_addresses(process.pid)), PATIENCE), "no call")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            check(process.returncode == INTERRUPTED and not out and b"interrupted" in err,
                  f"{process.returncode}, {err}")

    def stopped(self):
        """SIGTERM ends worker and request, in words on both sides."""
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]) as generation:
                beta.stop()
                generation.ends(LOST, "beta", "stopping")
            check("failed" in beta.log(), beta.log())

    def busy(self):
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]):
                seen = alpha.sees(beta.machine)
                check(seen["state"] == "busy" and seen["in_flight"] == 1 and "alpha" in seen["why"],
                      f"{seen}")
                check(seen["round_trip_us"] and not seen["bytes_per_second"], f"{seen}")
                sentence(alpha.generate(*SHORT, peers=[beta.machine]), FAILED, "beta", "busy")
                beta.says("refused a request of alpha")

    def other_model(self):
        path = os.path.join(self.scratch, "other.gguf")
        make_model.write(path)
        alpha, beta = self.machines("alpha", "beta")
        beta.trust(alpha)
        with Worker(beta, model=path):
            alpha.trust(beta)
            sentence(alpha.generate(*SHORT, peers=[beta]), FAILED, "beta", "another model")

    def another_key(self):
        """Whoever answers at beta's address with another key gets nothing, and is named loudly."""
        alpha, beta, mallory = self.machines("alpha", "beta", "mallory")
        mallory.trust(alpha)
        with Worker(mallory):
            beta.address = mallory.address
            alpha.trust(beta)
            sentence(alpha.generate(*SHORT, peers=[beta]), AUTH, "beta", "key")
            seen = alpha.sees(beta)
            check(seen["state"] == "unavailable" and seen["error"] == "DHOLE_ERR_AUTH", f"{seen}")
            check("key" in seen["why"], f"{seen}")

    def untrusted(self):
        """A worker that does not trust the caller says nothing about itself."""
        alpha, beta = self.machines("alpha", "beta")
        with Worker(beta):
            alpha.trust(beta)
            sentence(alpha.generate(*SHORT, peers=[beta]), AUTH, "beta")
            seen = alpha.sees(beta)
            check(seen["state"] == "unavailable" and seen["error"] == "DHOLE_ERR_AUTH", f"{seen}")
            check(seen["model"] is None and seen["version"] is None, f"{seen}")

    def unknown(self):
        alpha, beta = self.machines("alpha", "beta")
        sentence(alpha.generate(*SHORT, peers=[beta]), FAILED, "beta", "trust")
        alpha.trust(beta)
        sentence(alpha.generate(*SHORT, peers=[beta]), FAILED, "beta", "address")
        beta.address = "127.0.0.1:9"
        alpha.trust(beta)
        sentence(alpha.generate(*SHORT, peers=[beta]), LOST, "beta", "127.0.0.1:9")
        seen = alpha.sees(beta)
        check(seen["state"] == "unavailable" and "refused" in seen["why"], f"{seen}")

    def reload(self):
        """SIGHUP: who was taken from the trust file is refused, and its request ends."""
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]) as generation:
                beta.machine.must("trust", "remove", "alpha")
                beta.kill(signal.SIGHUP)
                generation.ends(LOST, "beta", "not trusted any more")
            beta.says("failed")
            complain(alpha.generate(*SHORT, peers=[beta.machine]), AUTH, "beta")
            beta.machine.trust(alpha)
            beta.kill(signal.SIGHUP)
            beta.says("machines that it trusts: 1\n")
            check(wait_until(lambda: alpha.sees(beta.machine)["state"] == "ready", PATIENCE),
                  "not ready")
            trusted = os.path.join(beta.machine.folder, "dhole/trusted")
            with open(trusted, "a") as file:
                file.write("nonsense\n")
            beta.kill(signal.SIGHUP)
            beta.says("keeps whom it trusts")
            alpha.answer(peers=[beta.machine])

    def peers(self):
        with self.pack("beta", "gamma") as (alpha, (beta, gamma)):
            gamma.stop()
            seen = alpha.peers()
            check(set(seen) == {"beta", "gamma"}, f"{seen}")
            ready = seen["beta"]
            check(ready["state"] == "ready" and ready["why"] == "" and ready["error"] is None
                  and ready["address"] == beta.machine.address
                  and ready["addresses"] == [beta.machine.address]
                  and ready["fingerprint"] == beta.machine.fingerprint()
                  and ready["round_trip_us"] > 0 and ready["bytes_per_second"] > 1e6
                  and ready["model_loaded"] is True and ready["in_flight"] == 0, f"{ready}")
            gone = seen["gamma"]
            check(gone["state"] == "unavailable" and gone["address"] is None
                  and gone["round_trip_us"] is None and "refused" in gone["why"], f"{gone}")
            text = alpha.must("peers", "--timeout", "2")
            check(re.search(r"^beta +ready +yes ", text, re.M)
                  and re.search(r"^gamma +unavailable +yes ", text, re.M), text)
            beta.kill(signal.SIGSTOP)
            ended = alpha.run("peers", "--json", "--timeout", "1.5")
            silent = [peer for peer in json.loads(ended.out)["peers"] if peer["name"] == "beta"][0]
            check(silent["state"] == "unavailable" and silent["error"] == "DHOLE_ERR_TIMEOUT"
                  and ended.seconds < 5, f"{silent}, {ended.seconds} s")

    def service_manager(self):
        """Ready when it listens, and it says when it stops."""
        alpha, = self.machines("alpha")
        path = os.path.join(self.scratch, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(PATIENCE)
            with Worker(alpha, env={"NOTIFY_SOCKET": path}) as worker:
                said = manager.recv(1000)
                check(said.startswith(b"READY=1\nSTATUS=listens at 127.0.0.1:"), f"not ready: {said}")
                alpha.must("trust", "add", "me", alpha.fingerprint())
                worker.process.send_signal(signal.SIGHUP)
                said = [manager.recv(1000), manager.recv(1000)]
                check(said[0].startswith(b"RELOADING=1\nMONOTONIC_USEC=") and said[1].startswith(b"READY=1\n")
                      and said[1].endswith(b" trusts: 1"), f"not reloaded: {said}")
                worker.stop()
                check(manager.recv(100) == b"STOPPING=1", "it does not say that it stops")

    def once(self):
        alpha, beta = self.machines("alpha", "beta")
        beta.trust(alpha)
        with Worker(beta, "--once") as worker:
            alpha.trust(beta)
            alpha.answer(peers=[beta])
            check(worker.process.wait(PATIENCE) == DONE, worker.log())

    def loopback(self):
        """Nothing of all this leaves loopback when nobody says so."""
        with self.pack("beta") as (alpha, (beta,)):
            with Generation(alpha, [beta.machine]) as generation:
                for pid in beta.pid, generation.process.pid:
                    addresses = set(tcp_addresses(pid))
                    check(addresses == {"127.0.0.1"}, f"{addresses}")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", default=os.environ.get("DHOLE_TEST_MODEL"))
    args = parser.parse_args()
    if unable(None if args.model else "no model, neither --model nor DHOLE_TEST_MODEL is set"):
        return 0
    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args, scratch)
        suite.case("usage", judge.usage)
        suite.case("pairing", judge.pairing)
        suite.case("pairing/of-a-service", judge.pairing_of_a_service)
        suite.case("pairing/full-disk", judge.pairing_on_a_full_disk)
        suite.case("peers", judge.peers)
        suite.case("same-text/tp-2", judge.same_text, 1, "tp")
        suite.case("same-text/pp-2-sealed", judge.same_text, 1, "pp", "--backend", "ring")
        suite.case("same-text/pp-3", judge.same_text, 2, "pp")
        suite.case("same-text/tp-3-sealed", judge.same_text, 2, "tp", "--seal", "on")
        for victim in 0, 1:
            suite.case(f"lost/SIGKILL-{victim + 1}", judge.lost, signal.SIGKILL, victim)
        suite.case("lost/SIGSTOP", judge.lost, signal.SIGSTOP, 0)
        suite.case("lost/restarted", judge.restarted)
        suite.case("lost/coordinator", judge.coordinator_lost, signal.SIGKILL)
        suite.case("interrupted", judge.interrupted)
        suite.case("interrupted-early", judge.interrupted_early)
        suite.case("stopped", judge.stopped)
        suite.case("busy", judge.busy)
        suite.case("other-model", judge.other_model)
        suite.case("another-key", judge.another_key)
        suite.case("untrusted", judge.untrusted)
        suite.case("unknown", judge.unknown)
        suite.case("reload", judge.reload)
        suite.case("service-manager", judge.service_manager)
        suite.case("once", judge.once)
        suite.case("loopback", judge.loopback)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
