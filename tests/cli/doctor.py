#!/usr/bin/env python3
"""Judges `dhole doctor`: what it finds on a machine, that each fault comes with what mends it, and
that its exit code says whether a group of the wanted kind could form.

    doctor.py --dhole PROGRAM [--fake-verbs LIBRARY] [--only TEXT]
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile

from harness import Dhole, Skip, Suite, arguments, check, unable, wait_until

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

KEYS = ["version", "machine", "backend", "rank", "ranks", "can_form", "findings", "devices", "peers",
        "pairs"]
FINDING_KEYS = ["severity", "about", "subject", "text", "mend"]
DEVICE_KEYS = ["name", "usable", "kind", "queue_pairs", "regions", "region_bytes", "ports"]
PORT_KEYS = ["port", "interface", "state", "active", "link", "mtu", "message_bytes", "gids"]
BACKENDS = ["any", "ring", "tcp", "shm", "jaccl", "jaccl-ring"]

# Options after `doctor`, and what the complaint must quote.
BAD = [
    (["--frob"], "--frob"),
    (["--hostfile"], "--hostfile"),
    (["--backend", "tin cans"], "tin cans"),
    (["hosts.json"], "hosts.json"),
]

# Whole files, and what must be said about them.
BAD_FILES = [
    ("", "line 1"),
    ("[]", "expected a list"),
    ('["127.0.0.1:5000", 7]', "entry 1"),
    ('{"hosts": [{"ips": []}]}', "hosts[0]"),
    ('{"hosts": [{"ssh": "localhost"}], "backend": "tin cans"}', "backend"),
]


class Judge:
    def __init__(self, path, fake, scratch):
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("DHOLE_", "MLX_", "JACCL_"))}
        self.dhole, self.fake, self.scratch = Dhole(path, None), fake, scratch
        # No library but the one that a case names, so that the machine's own devices do not count.
        self.dhole.env = {**clean, "DHOLE_VERBS_LIBRARY": os.path.join(scratch, "no-library.so")}

    def doctor(self, *args, env=None, **options):
        return self.dhole.run("doctor", *args, env={**self.dhole.env, **(env or {})}, **options)

    def judge(self, ended):
        """The JSON object of a run, after what is true of each."""
        check(ended.code in (DONE, FAILED) and not ended.err, f"{ended}")
        result = json.loads(ended.out)
        check(list(result) == KEYS, f"keys {list(result)}")
        for finding in result["findings"]:
            check(list(finding) == FINDING_KEYS, f"keys {list(finding)}")
            check(finding["severity"] in ("ok", "note", "problem"), f"{finding}")
            check((finding["mend"] is None) == (finding["severity"] == "ok"), f"{finding}")
        problems = self.of(result, severity="problem")
        check(result["can_form"] == (not problems), f"{result}")
        check((ended.code == DONE) == result["can_form"], f"{ended}")
        return result

    def examine(self, *args, **options):
        return self.judge(self.doctor("--json", *args, **options))

    @staticmethod
    def of(result, **wanted):
        """The findings with these values; of text and mend a part is enough."""
        def fits(finding):
            return all(value in (finding[key] or "") if key in ("text", "mend")
                       else finding[key] == value for key, value in wanted.items())
        return [finding for finding in result["findings"] if fits(finding)]

    def expect(self, result, **wanted):
        found = self.of(result, **wanted)
        check(found, f"no finding {wanted} in {json.dumps(result['findings'], indent=1)}")
        return found[0]

    def file(self, content):
        path = os.path.join(self.scratch, "hosts.json")
        with open(path, "w") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path

    # This machine.

    def bare(self):
        result = self.examine()
        check(result["backend"] == "any" and result["ranks"] == 1, f"{result}")
        check(result["can_form"] and not result["devices"] and not result["pairs"], f"{result}")
        check(result["machine"]["system"] == os.uname().sysname, f"{result['machine']}")
        for way in "ring", "shm":
            check("us one way" in self.expect(result, severity="ok", about=way)["text"], f"{result}")

    def text(self):
        ended = self.doctor()
        check(ended.code == DONE and not ended.err, f"{ended}")
        lines = ended.out.decode().splitlines()
        check(lines[0].startswith("dhole ") and os.uname().nodename in lines[0], lines[0])
        check(any(line.startswith("note     library") for line in lines), f"{lines}")
        check(any("mend: " in line for line in lines), f"{lines}")
        check(lines[-1] == "A group can form here, backend any", lines[-1])
        ended = self.doctor("--backend", "jaccl")
        check(ended.code == FAILED, f"{ended}")
        check(ended.out.decode().endswith("No group can form here, backend jaccl\n"), f"{ended}")

    def usage(self):
        for words, quoted in BAD:
            ended = self.doctor(*words)
            error = ended.err.decode()
            check(ended.code == USAGE and quoted in error and error.count("\n") == 1, f"{ended}")
        page = self.dhole.run("help", "doctor").out.decode()
        for word in ("--hostfile", "--backend", "--json", "Examples:", *BACKENDS):
            check(word in page, f"help doctor does not name {word}")

    def no_library(self):
        """What is a note for other backends is a problem for jaccl."""
        for backend in BACKENDS:
            wanted = backend.startswith("jaccl")
            result = self.examine("--backend", backend)
            check(result["backend"] == backend, f"{result}")
            check(result["can_form"] != wanted, f"{result}")
            self.expect(result, severity="problem" if wanted else "note", about="library",
                        text="RDMA", mend="libibverbs1")

    # Host files.

    @staticmethod
    def free_port():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return listener.getsockname()[1]

    def own_addresses(self):
        hosts = [[f"127.0.0.1:{self.free_port()}"] for _ in range(2)]
        for content in hosts, [host[0] for host in hosts]:
            result = self.examine("--hostfile", self.file(content))
            check([peer["state"] for peer in result["peers"]] == ["own", "own"], f"{result}")
            check([peer["address"] for peer in result["peers"]] == [h[0] for h in hosts], f"{result}")
            check(result["can_form"], f"{result}")

    def taken(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            result = self.examine("--hostfile", self.file([[address]]))
        check(result["peers"][0]["state"] == "taken", f"{result['peers']}")
        self.expect(result, severity="problem", about="peer", subject=address, mend="ss -tlnp")

    def unreachable(self):
        """An address in a network that is there, and which no host has."""
        with self.neighbour():
            hosts = [["10.214.0.1:5001"], ["10.214.0.9:5001"]]
            result = self.examine("--hostfile", self.file(hosts))
        check(result["peers"][1]["state"] == "unreachable", f"{result['peers']}")
        check(result["peers"][1]["round_trip_us"] is None, f"{result['peers']}")
        self.expect(result, severity="problem", about="peer", subject="10.214.0.9:5001", text="rank 1",
                    mend="ping -c 3 10.214.0.9;")

    def unknown_name(self):
        address = "no-such-host.invalid:5000"
        result = self.examine("--hostfile", self.file([[address]]))
        check(result["peers"][0]["state"] == "unknown", f"{result['peers']}")
        self.expect(result, severity="problem", about="peer", subject=address, mend="/etc/hosts")

    def unsound_addresses(self):
        """With which no group could form, though each can be listened at."""
        here = f"127.0.0.1:{self.free_port()}"
        for hosts, subject, text, mend in (
                ([[here], [here]], here, "ranks 0 and 1", "own port"),
                ([[here], ["127.0.0.1:0"]], "127.0.0.1:0", "rank 1", "a port"),
                ([["0.0.0.0:5000"], [here]], "0.0.0.0:5000", "rank 0", "reach"),
                ([["127.0.0.1"], [here]], "127.0.0.1", "host:port", "HOST:PORT")):
            result = self.examine("--hostfile", self.file(hosts))
            self.expect(result, severity="problem", about="peer", subject=subject, text=text, mend=mend)

    @contextlib.contextmanager
    def neighbour(self):
        """A host that is reached over a cable: another network namespace."""
        name, near = f"doctor{os.getpid()}", f"dd{os.getpid() % 100000}"
        ip = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True)
        try:
            ip("netns", "add", name)
            ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", name)
        except (OSError, subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            raise Skip("needs root, ip, network namespaces and veth")
        try:
            ip("address", "add", "10.214.0.1/24", "dev", near)
            ip("link", "set", near, "up")
            ip("-n", name, "address", "add", "10.214.0.2/24", "dev", "far")
            ip("-n", name, "link", "set", "far", "up")
            yield name
        finally:
            subprocess.run(["ip", "link", "del", near], capture_output=True)
            ip("netns", "del", name)

    def neighbours(self):
        """A host answers whether or not something listens there."""
        listen = ("import socket; s = socket.create_server(('10.214.0.2', 5001)); print(flush=True);"
                  "s.accept()")
        with self.neighbour() as name:
            other = subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", listen],
                                     stdout=subprocess.PIPE)
            try:
                other.stdout.readline()
                hosts = [["10.214.0.1:5001"], ["10.214.0.2:5001"], ["10.214.0.2:5002"]]
                result = self.examine("--hostfile", self.file(hosts))
            finally:
                other.kill()
                other.communicate()
        check([peer["state"] for peer in result["peers"]] == ["own", "listens", "refuses"],
              f"{result['peers']}")
        check(all(peer["round_trip_us"] > 0 for peer in result["peers"][1:]), f"{result['peers']}")
        check(result["can_form"], f"{result}")

    def strangers(self):
        """A host file that leaves this machine out."""
        with self.neighbour():
            result = self.examine("--hostfile", self.file([["10.214.0.2:5001"]]))
        self.expect(result, severity="note", about="hostfile", text="no address")

    def bad_files(self):
        for content, quoted in BAD_FILES:
            result = self.examine("--hostfile", self.file(content))
            self.expect(result, severity="problem", about="hostfile", text=quoted)
        missing = os.path.join(self.scratch, "missing.json")
        result = self.examine("--hostfile", missing)
        self.expect(result, severity="problem", about="hostfile", subject=missing, text="cannot open")

    # Groups that the environment names.

    def environment(self):
        """Whatever names a group must be whole."""
        result = self.examine(env={"DHOLE_RANK": "0"})
        self.expect(result, severity="problem", about="environment", text="DHOLE_HOSTFILE")

    def backend_from(self):
        hosts = {"backend": "jaccl", "hosts": [{"ssh": "localhost"}]}
        check(self.examine("--hostfile", self.file(hosts))["backend"] == "jaccl", "host file")
        check(self.examine(env={"DHOLE_BACKEND": "shm"})["backend"] == "shm", "environment")
        result = self.examine("--hostfile", self.file(hosts), "--backend", "ring",
                              env={"DHOLE_BACKEND": "shm"})
        check(result["backend"] == "ring", "the command line comes first")

    def launched(self, ranks, backend):
        """Every rank tells, rank 0 of all pairs; and all of them print though one has a problem."""
        ended = self.dhole.run("launch", "-n", ranks, "--no-prefix", "--backend", backend, "--",
                               self.dhole.path, "doctor", "--json", env=self.dhole.env)
        check(ended.code == DONE, f"{ended}")
        results = sorted((json.loads(line) for line in ended.out.splitlines()),
                         key=lambda result: result["rank"])
        check([result["rank"] for result in results] == list(range(ranks)), f"{results}")
        check(all(result["ranks"] == ranks for result in results), f"{results}")
        pairs = [(pair["from"], pair["to"]) for pair in results[0]["pairs"]]
        check(pairs == [(a, b) for a in range(ranks) for b in range(a + 1, ranks)], f"{pairs}")
        for pair in results[0]["pairs"]:
            check(pair["latency_us"] > 0 and pair["gb_per_s"] > 0, f"{pair}")
        check(not any(result["pairs"] for result in results[1:]), f"{results}")

    def interrupted(self):
        """While it waits for the rank that does not come."""
        path = self.file([[f"127.0.0.1:{self.free_port()}"] for _ in range(2)])
        process = self.dhole.start("doctor", stdin=subprocess.DEVNULL,
                                   env={**self.dhole.env, "DHOLE_HOSTFILE": path, "DHOLE_RANK": "0"})
        listening = lambda: os.path.exists(f"/proc/{process.pid}/net/tcp") and self.catches(process)
        check(wait_until(listening, 10), "it does not watch for signals")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        check(process.returncode == INTERRUPTED, f"exit {process.returncode}: {out} {err}")
        check(err == b"dhole: interrupted\n", f"{err}")

    @staticmethod
    def catches(process):
        with open(f"/proc/{process.pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt"))
        return int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1

    # Devices, played by a library.

    def devices(self, description, *args):
        if not self.fake or not os.path.exists(self.fake):
            raise Skip("no fake libibverbs was built")
        result = self.examine(*args, env={"DHOLE_VERBS_LIBRARY": self.fake,
                                          "DHOLE_FAKE_VERBS": description})
        for device in result["devices"]:
            check(list(device) == DEVICE_KEYS, f"keys {list(device)}")
            for port in device["ports"]:
                check(list(port) == PORT_KEYS, f"keys {list(port)}")
        return result

    def healthy(self):
        result = self.devices("fake0; fake1 gids=mlx5", "--backend", "jaccl")
        check(result["can_form"], f"{result['findings']}")
        check([device["name"] for device in result["devices"]] == ["fake0", "fake1"], f"{result}")
        check(all(device["usable"] and device["kind"] == "RC" for device in result["devices"]),
              f"{result}")
        gids = [gid["gid"] for gid in result["devices"][0]["ports"][0]["gids"]]
        check(gids[0].startswith("::ffff:10.9.") and gids[1].startswith("fe80::"), f"{gids}")
        first = result["devices"][1]["ports"][0]["gids"][0]
        check((first["index"], first["type"]) == (3, "RoCE v2"), f"{first}")
        self.expect(result, severity="ok", about="gid", subject="fake1:1", text="index 3")
        self.expect(result, severity="ok", about="port", subject="fake0:1", text="MTU 4096")

    def mlx_3467_gid_tables(self):
        """Whichever table a Thunderbolt port shows, the entry that is used is named."""
        for table, index, prefix in (("v4_at_1", 1, "::ffff:"), ("v4_at_2", 2, "::ffff:"),
                                     ("link", 0, "fe80::")):
            result = self.devices(f"rdma_en2 qp=uc gids={table}", "--backend", "jaccl")
            check(result["can_form"], f"{result['findings']}")
            first = result["devices"][0]["ports"][0]["gids"][0]
            check(first["index"] == index and first["gid"].startswith(prefix), f"{table}: {first}")

    def no_ipv4(self):
        """The fake's devices are on loopback, whose address no GID of this one stands for."""
        result = self.devices("rdma_en2 gids=link", "--backend", "jaccl")
        self.expect(result, severity="note", about="gid", text="IPv4 address", mend="interface")

    def no_gid(self):
        result = self.devices("rdma_en2 gids=none", "--backend", "jaccl")
        check(not result["devices"][0]["usable"], f"{result}")
        self.expect(result, severity="problem", about="device", text="no RDMA device can be used")
        self.expect(result, about="device", subject="rdma_en2", text="GID", mend="10.0.0.1")

    def mlx_3755_port_down(self):
        """A port that is down, on a device that gives no protection domain and no errno."""
        result = self.devices("rdma_en2 port=down pd=no", "--backend", "jaccl")
        check(not result["can_form"], f"{result}")
        self.expect(result, about="port", subject="rdma_en2:1", text="down")
        self.expect(result, about="device", subject="rdma_en2")
        self.expect(result, severity="problem", about="device", text="no RDMA device can be used")
        check(self.devices("rdma_en2 port=down pd=no")["can_form"], "TCP needs no RDMA device")

    def no_protection_domain(self):
        result = self.devices("rdma_en2 pd=no", "--backend", "jaccl")
        check(not result["can_form"], f"{result}")
        self.expect(result, about="device", subject="rdma_en2", text="protection domain")

    def mlx_4209_limits(self):
        result = self.devices("rdma_en2 qp=uc qp_max=10 mr_max=100", "--backend", "jaccl")
        check(result["can_form"], f"{result}")
        device = result["devices"][0]
        check((device["kind"], device["queue_pairs"], device["regions"]) == ("UC", 10, 100),
              f"{device}")
        self.expect(result, severity="ok", about="device", subject="rdma_en2",
                    text="UC only; 10 queue pairs")

    def one_unplugged(self):
        """A port without a cable is a problem only where a matrix names its device."""
        description = "rdma_en2; rdma_en3 port=down"
        check(self.devices(description, "--backend", "jaccl")["can_form"], "one of two is enough")
        for name, severity in ("rdma_en2", "note"), ("rdma_en3", "problem"):
            hosts = {"backend": "jaccl",
                     "hosts": [{"ssh": "localhost", "rdma": [None, [name + ":1"]]},
                               {"ssh": "127.0.0.1", "rdma": [name, None]}]}
            result = self.devices(description, "--hostfile", self.file(hosts))
            self.expect(result, severity=severity, about="device", subject="rdma_en3")
            check(result["can_form"] == (severity == "note"), f"{result['findings']}")

    def not_there(self):
        hosts = {"backend": "jaccl", "hosts": [{"ssh": "localhost", "rdma": [None, "rdma_en9"]},
                                               {"ssh": "localhost", "rdma": ["rdma_en2", None]}]}
        result = self.devices("rdma_en2", "--hostfile", self.file(hosts))
        self.expect(result, severity="problem", about="device", subject="rdma_en9", text="none of that",
                    mend="ibv_devices")

    def no_device(self):
        result = self.devices(";", "--backend", "jaccl")
        check(not result["devices"] and not result["can_form"], f"{result}")
        self.expect(result, severity="problem", about="device")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--fake-verbs", help="the library of tests/rdma/fake")
    args = parser.parse_args()
    if unable():
        return 0

    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args.dhole, args.fake_verbs and os.path.abspath(args.fake_verbs), scratch)
        for name in ("bare", "text", "usage", "no_library", "own_addresses", "taken", "unreachable",
                     "unknown_name", "unsound_addresses", "neighbours", "strangers", "bad_files", "environment",
                     "backend_from", "interrupted"):
            suite.case(name, getattr(judge, name))
        for ranks, backend in (2, "any"), (3, "ring"):
            suite.case(f"launched/{backend}-{ranks}", judge.launched, ranks, backend)
        for name in ("healthy", "mlx_3467_gid_tables", "no_ipv4", "no_gid", "mlx_3755_port_down",
                     "no_protection_domain", "mlx_4209_limits", "one_unplugged", "not_there",
                     "no_device"):
            suite.case(f"devices/{name}", getattr(judge, name))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
