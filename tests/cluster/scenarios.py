"""Judges a request of one machine to another while cables are pulled, keys change and clocks are wrong."""

import contextlib
import glob
import json
import os
import signal
import subprocess
import time

from discovery import Daemons
from harness import Skip, check, wait_until
from machines import PORT, machines

FAILED, LOST, NOT_AUTHENTICATED = 1, 3, 4
AT_ONCE = 3  # seconds for what closes, on a loaded machine
SILENT = 5 + 1  # and for what falls silent
UNREACHED = 5 + 3  # and until a request gives up a machine that does not answer
SHORT = len("sha256:") + 16  # of a fingerprint
AGAIN = 20  # until a worker has noticed that its request is over


class Scenarios:
    def __init__(self, program, model):
        self.program, self.model = program, model

    def machines(self, **options):
        if not self.model:
            raise Skip("no model, neither --model nor DHOLE_TEST_MODEL is set")
        return machines(self.program, self.model, **options)

    # Cables.

    def cable_pulled_before(self):
        with self.machines() as them:
            them.works()
            them.far.pull()
            them.shows("unavailable", error=("DHOLE_ERR_TIMEOUT", "DHOLE_ERR_PEER_LOST"))
            them.fails(LOST, "far", them.far.address, within=UNREACHED)
            them.far.plug()
            them.shows("ready", seconds=AGAIN)
            them.works()

    def cable_pulled_meanwhile(self):
        """One error on either side; then both are as they were."""
        with self.machines() as them:
            process = them.request()
            them.far.pull()
            told = them.ends(process, LOST, "far", within=SILENT)
            them.shows("unavailable")
            check(wait_until(them.says_failed, SILENT), f"far does not say that its request failed: {them.log()}")
            them.far.plug()
            them.shows("ready", seconds=AGAIN)
            them.works()
            return told

    def one_of_three(self):
        """All are told at once, not only the one that asked."""
        with self.machines(worker=False, other=True) as them:
            them.trust_each_other(them.near, them.far, them.other)
            for host in them.far, them.other:
                them.start_worker(host=host)
            for parallel in "tp", "pp":
                them.answer("--parallel", parallel, peers="far,other")
            process = them.request(peers="far,other")
            them.far.pull()
            told = them.ends(process, LOST, "far", within=SILENT)
            for host in them.far, them.other:
                check(wait_until(lambda: them.says_failed(host), SILENT), f"{host.name}: {them.log(host)}")
            check(them.peer(name="other")["state"] == "ready", "the third is not ready")
            them.far.plug()
            them.shows("ready", seconds=AGAIN)
            them.works(peers="far,other")
            return told

    def cable_put_back(self):
        """Soon enough, nothing is lost."""
        with self.machines() as them:
            expected = them.answer("--max-tokens", "40")
            process = them.near.start(them.program, *them.arguments("--peers", "far", tokens=40))
            first = os.read(process.stdout.fileno(), 1)
            them.far.pull()
            time.sleep(0.7)  # the time without a cable
            check(process.poll() is None, "the request was too short")
            them.far.plug()
            out, err = process.communicate(timeout=30)
            check(process.returncode == 0, f"exit {process.returncode}: {err}")
            check((first + out).decode().rstrip("\n") == expected["text"].rstrip("\n"), f"{first + out} {expected}")

    # Addresses.

    def address_changed(self):
        """It is found where it is now, by the key that it had."""
        with self.machines(worker=False) as them:
            for host in (them.near, them.far):
                Daemons(host).start()
            them.trust_each_other()
            them.start_worker("--name", "far")
            them.shows("ready")
            process = them.request()
            them.far.ip("addr", "del", f"{them.far.address}/24", "dev", "eth0")
            them.far.address = "10.215.0.77"
            them.far.ip("addr", "add", f"{them.far.address}/24", "dev", "eth0")
            told = them.ends(process, LOST, "far", within=SILENT)
            peer = them.shows("ready", seconds=AGAIN)
            check(peer["address"] == f"{them.far.address}:{PORT}", f"{peer}")
            them.must(them.near, "trust", "add", "far", peer["fingerprint"], peer["address"])
            them.works()
            return told

    def link_local(self):
        """Without other addresses; and the machines call their interfaces differently."""
        with self.machines(worker=False, other=True) as them:
            them.trust_each_other(them.near, them.far, them.other)
            interfaces = {them.near: "eth0", them.far: "lan7", them.other: "en5"}
            for host, interface in interfaces.items():
                host.ip("link", "set", "eth0", "down")
                host.ip("link", "set", "eth0", "name", interface)
                host.ip("addr", "flush", "dev", interface)
                host.ip("link", "set", interface, "up")
            show = "ip", "-6", "-o", "addr", "show", "scope", "link", "-tentative"
            local = lambda host: host.run(*show).stdout.split()
            check(wait_until(lambda: all(map(local, interfaces)), 10), "no link-local addresses")
            for host in them.far, them.other:
                address = local(host)[3].decode().partition("/")[0]
                them.start_worker("--listen", f"[::]:{PORT}", "--hide", host=host)
                them.must(them.near, "trust", "add", host.name, them.fingerprint(host), f"[{address}%eth0]:{PORT}")
            them.shows("ready")
            them.works(peers="far,other")

    # Processes and keys.

    def worker_killed(self):
        with self.machines() as them:
            process = them.request()
            them.kill_worker()
            told = them.ends(process, LOST, "far", within=AT_ONCE)
            them.shows("unavailable", "refused")
            them.fails(LOST, "far", "refused", within=AT_ONCE)
            them.start_worker()
            them.shows("ready")
            them.works()
            return told

    def worker_stopped(self):
        """It lives, but says nothing."""
        with self.machines() as them:
            process = them.request()
            them.workers[them.far].send_signal(signal.SIGSTOP)
            told = them.ends(process, LOST, "far", within=SILENT)
            them.shows("unavailable", "is stopped")
            them.workers[them.far].send_signal(signal.SIGCONT)
            them.shows("ready", seconds=AGAIN)
            them.works()
            return told

    def coordinator_killed(self):
        with self.machines() as them:
            process = them.request()
            check(them.peer()["state"] == "busy", f"{them.peer()}")
            them.near.kill(process)
            them.shows("ready", seconds=AGAIN)
            check(them.says_failed(), f"the worker does not say that its request failed: {them.log()}")
            them.works()

    def another_key(self):
        """Refused, loudly, until it has its own again."""
        with self.machines() as them:
            them.kill_worker()
            (key,) = glob.glob(os.path.join(them.far.env["XDG_CONFIG_HOME"], "dhole", "identity*"))
            os.rename(key, them.far.file("key"))
            them.start_worker()
            new = them.fingerprint(them.far)
            them.shows("unavailable", "key", error=("DHOLE_ERR_AUTH",))
            them.fails(NOT_AUTHENTICATED, "far", new[:SHORT], "key has changed", within=AT_ONCE)
            added = them.dhole(them.near, "trust", "add", "far", new)
            check(added.code == NOT_AUTHENTICATED and b"far" in added.err, f"{added}")
            them.kill_worker()
            os.rename(them.far.file("key"), key)
            them.start_worker()
            them.shows("ready")
            them.works()

    def stranger(self):
        """Whoever is not trusted gets nothing, and both sides say so."""
        with self.machines(other=True) as them:
            them.must(them.other, "trust", "add", "far", them.fingerprint(them.far), f"{them.far.address}:{PORT}")
            peer = them.peer(host=them.other)
            check(peer["state"] == "unavailable" and peer["error"] == "DHOLE_ERR_AUTH", f"{peer}")
            them.fails(NOT_AUTHENTICATED, "far", within=AT_ONCE, host=them.other)
            stranger = them.fingerprint(them.other)[:SHORT]
            check(wait_until(lambda: stranger in them.log(), 2), f"{stranger} is not in the log: {them.log()}")
            them.works()

    # Loss in one direction.

    def drop(self, host, chain):
        done = host.run("iptables", "-A", chain, "-p", "tcp", "-j", "DROP")
        if done.returncode != 0:
            raise Skip(f"iptables: {done.stderr.decode().strip()}")

    def mend(self, host):
        host.run("iptables", "-F", check=True)

    def one_way_loss(self, chain):
        """What far says is not heard, or far does not hear."""
        with self.machines() as them:
            process = them.request()
            self.drop(them.far, chain)
            told = them.ends(process, LOST, "far", within=SILENT)
            them.shows("unavailable")
            them.fails(LOST, "far", within=UNREACHED)
            self.mend(them.far)
            them.shows("ready", seconds=AGAIN)
            them.works()
            return told

    # Clocks.

    def clock(self, host, shift):
        """The environment of a clock that is as far off as the file says."""
        library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
        if not library:
            raise Skip("libfaketime is not installed")
        env = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": host.write("clock", shift),
               "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        shown = int(host.run("date", "+%s", env=env).stdout)
        check(abs(shown - time.time()) > 1000 or shift == "+0", f"the clock is right: {shown}")
        return env

    def clock_wrong(self, shift):
        """Keys have no dates."""
        with self.machines(worker=False) as them:
            env = self.clock(them.far, shift)
            them.must(them.far, "id", env=env)
            them.trust_each_other()
            them.start_worker(env=env)
            them.shows("ready")
            them.works()

    def pair(self, them, valid, env=None):
        maker = them.near.start(them.program, "pair", "--listen", "0.0.0.0:7700", "--json", "--valid", str(valid),
                                env=env)
        return maker, json.loads(maker.stdout.readline())["token"]

    def judge_pairing(self, them, maker, joined, good):
        try:
            out, err = maker.communicate(timeout=10)
        finally:
            them.near.running.remove(maker)
        text = f"pair: exit {maker.returncode}, {err!r}; join: {joined}"
        check((maker.returncode == 0) == (joined.code == 0) == good, text)
        check(good or joined.code in (FAILED, LOST, NOT_AUTHENTICATED), text)
        for host, name in (them.near, "far"), (them.far, "near"):
            check((name in them.must(host, "trust", "list")) == good, f"{host.name} trusts {name}: {not good}; {text}")

    def token_and_guest(self, shift):
        """Whether a token is good is for the clock of its maker to say."""
        with self.machines(worker=False) as them:
            maker, token = self.pair(them, 60)
            joined = them.dhole(them.far, "join", token, env=self.clock(them.far, shift))
            self.judge_pairing(them, maker, joined, True)

    def token_too_old(self):
        """By the maker's clock, or by the time that has passed if the clock went back."""
        with self.machines(worker=False) as them:
            env = self.clock(them.near, "+0")
            maker, token = self.pair(them, 60, env)
            them.near.write("clock", "+1h")
            joined = them.dhole(them.far, "join", token)
            self.judge_pairing(them, maker, joined, False)
            them.near.write("clock", "+0")
            maker, token = self.pair(them, 2, env)
            them.near.write("clock", "-1h")
            maker.wait(10)
            joined = them.dhole(them.far, "join", token)
            self.judge_pairing(them, maker, joined, False)

    # Crowds.

    @contextlib.contextmanager
    def crowd(self, them, host, port, talk):
        """500 connections of a stranger."""
        script = f"""
import socket, sys
crowd = [socket.create_connection(({host.address!r}, {port})) for _ in range(500)]
for guest in crowd:
    try:
        guest.sendall({talk!r})
    except OSError:
        pass
print("here", flush=True)
sys.stdin.read()
"""
        process = them.other.start("python3", "-c", script, stdin=subprocess.PIPE)
        check(process.stdout.readline() == b"here\n", "the crowd did not come")
        yield
        them.other.kill(process)

    def crowd_at_worker(self, talk):
        with self.machines(other=True) as them, self.crowd(them, them.far, PORT, talk):
            peer = them.peer(timeout=1.5)  # of which it asks for one second
            check(peer["state"] == "ready", f"{peer}")
            them.works()

    def crowd_at_pairing(self, talk):
        with self.machines(other=True, worker=False) as them:
            maker, token = self.pair(them, 60)
            with self.crowd(them, them.near, 7700, talk):
                joined = them.dhole(them.far, "join", token)
            self.judge_pairing(them, maker, joined, True)
            check(joined.seconds < 1, f"{joined.seconds:.1f} s")

    def crowd_at_coordinator(self, talk):
        """While it waits for its worker, which a firewall keeps from calling back."""
        with self.machines(other=True) as them:
            wall = ["OUTPUT", "-p", "tcp", "--syn", "-j", "REJECT", "--reject-with", "tcp-reset"]
            done = them.far.run("iptables", "-A", *wall)
            if done.returncode != 0:
                raise Skip(f"iptables: {done.stderr.decode().strip()}")
            process = them.near.start(them.program, *them.arguments("--peers", "far"))
            check(wait_until(lambda: "takes a request" in them.log(), 10), them.log())
            (port,) = them.near.listening()
            with self.crowd(them, them.near, port, talk):
                start = time.monotonic()
                self.mend(them.far)
                joined = wait_until(lambda: "epoch 1" in them.log(), 10)
                seconds = time.monotonic() - start
                check(joined, f"it did not join: {them.log()}")
                them.ends(process, 0, within=AGAIN)
            check(seconds < 2, f"it took {seconds:.1f} s to join")  # with the pause before it called again
            return f"{seconds:.1f} s"
