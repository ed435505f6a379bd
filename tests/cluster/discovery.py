"""Judges discovery: with an avahi-daemon on each of two hosts, and a third that makes things up."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

from harness import Skip, check, wait_until
from hosts import hosts

PINS = [f"sha256:{digit * 64}" for digit in "abc"]
LOOK_MS = 2500
TYPE = "_dhole", "_tcp", "local"
PTR, TXT, AAAA, SRV, A = 12, 16, 28, 33, 1

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>"""
DAEMON = """[server]
host-name={name}
use-ipv4={v4}
use-ipv6=yes
allow-interfaces=eth0
enable-dbus=yes
[publish]
publish-workstation=no
publish-hinfo=no
"""


class Daemons:
    """A D-Bus and an avahi-daemon of a host."""

    def __init__(self, host, v4=True):
        self.host = host
        path = host.file("bus")
        host.env["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={path}"
        host.write("bus.conf", BUS.format(socket=path))
        host.write("avahi.conf", DAEMON.format(name=host.name, v4="yes" if v4 else "no"))
        host.run("sh", "-c", "mkdir -p /run/avahi-daemon && mount -t tmpfs none /run/avahi-daemon", check=True)
        host.start("dbus-daemon", "--nofork", "--nopidfile", "--config-file", host.file("bus.conf"),
                   stderr=subprocess.DEVNULL)
        check(wait_until(lambda: os.path.exists(path), 10), "dbus-daemon does not start")
        self.daemon = None

    def start(self):
        self.daemon = self.host.start("avahi-daemon", "-f", self.host.file("avahi.conf"), "--no-drop-root",
                                      "--no-chroot", "--no-rlimits", "--no-proc-title",
                                      stderr=open(self.host.file("avahi.log"), "w"))
        check(wait_until(lambda: "startup complete" in open(self.host.file("avahi.log")).read(), 20),
              open(self.host.file("avahi.log")).read())

    def kill(self):
        self.host.kill(self.daemon)


def name(*labels):
    return b"".join(bytes([len(label)]) + label for label in
                    (label if isinstance(label, bytes) else label.encode() for label in labels)) + b"\0"


def record(owner, kind, data, ttl=120):
    return owner + struct.pack(">HHIH", kind, 1 if kind == PTR else 0x8001, ttl, len(data)) + data


def response(*records):
    return struct.pack(">6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def announcement(service, strings, address, port=7777):
    """What an honest machine sends, but for the strings of its TXT record and what is wanted else."""
    owner, host = name(service, *TYPE), name(b"h-" + service[:20], "local")
    text = b"".join(bytes([len(string)]) + string for string in strings) or b"\0"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return response(record(name(*TYPE), PTR, owner), record(owner, SRV, struct.pack(">3H", 0, 0, port) + host),
                    record(owner, TXT, text),
                    record(host, A if family == socket.AF_INET else AAAA, socket.inet_pton(family, address)))


def strings(called, pin=PINS[2], version=b"1"):
    return [b"version=" + version, b"fingerprint=" + pin.encode(), b"name=" + called]


# Each is one machine that must not be listed.
LIES = [
    (strings(b"x", version=b"2"), "10.215.0.9", 7777),
    (strings(b"x")[1:], "10.215.0.9", 7777),
    (strings(b"x")[:2], "10.215.0.9", 7777),
    (strings(b"x") + strings(b"y"), "10.215.0.9", 7777),
    (strings(b"x") + [b"NAME=y"], "10.215.0.9", 7777),
    (strings(b""), "10.215.0.9", 7777),
    (strings(b"n" * 64), "10.215.0.9", 7777),
    (strings(b"n" * 240), "10.215.0.9", 7777),
    (strings(b"a b"), "10.215.0.9", 7777),
    (strings(b"a\x1b[31mb"), "10.215.0.9", 7777),
    (strings(b"a\0"), "10.215.0.9", 7777),
    (strings(b"\xff\xfe"), "10.215.0.9", 7777),
    (strings(b".."), "10.215.0.9", 7777),
    (strings(b"x", pin="sha256:12"), "10.215.0.9", 7777),
    (strings(b"x", pin="sha256:" + "g" * 64), "10.215.0.9", 7777),
    (strings(b"x", pin="md5:" + "a" * 64), "10.215.0.9", 7777),
    (strings(b"x", pin="sha256:" + "a" * 65), "10.215.0.9", 7777),
    ([], "10.215.0.9", 7777),
    ([b"", b"=", b"version", b"=1", b"fingerprint=", b"name="], "10.215.0.9", 7777),
    ([b"\xff" * 255] * 4, "10.215.0.9", 7777),
    (strings(b"x"), "10.215.0.9", 0),
    (strings(b"x"), "127.0.0.1", 7777),
    (strings(b"x"), "0.0.0.0", 7777),
    (strings(b"x"), "224.0.0.251", 7777),
    (strings(b"x"), "::1", 7777),
]

# And packets that are none.
RUBBISH = [b"", b"\0", b"\xff" * 1400, struct.pack(">6H", 0, 0x8400, 0, 65535, 65535, 65535),
           response(record(b"\xc0\x0c", PTR, b"\xc0\x0c")), response(record(name(*TYPE), PTR, b"\x3fx")),
           response(record(name(*TYPE), TXT, b"\xff")),
           response(*(record(name(*TYPE), PTR, name(f"flood {i}", *TYPE)) for i in range(40)))]

SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("", 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
for line in sys.stdin:
    s.sendto(bytes.fromhex(line), ("224.0.0.251", 5353))
"""


def send(host, packets):
    text = "".join(packet.hex() + "\n" for packet in packets)
    host.run("python3", "-c", SEND, host.address, input=text.encode(), stdin=None, check=True)


class Discovery:
    """`program` is that of discover.c."""

    def __init__(self, program):
        self.program = program

    @contextlib.contextmanager
    def network(self, *names, v4=True):
        if not os.path.exists(self.program):
            raise Skip(f"{os.path.basename(self.program)} was not built")
        if not (shutil.which("avahi-daemon") and shutil.which("dbus-daemon")):
            raise Skip("avahi-daemon and dbus-daemon are not both installed")
        with hosts(*names) as made:
            daemons = [Daemons(host, v4) for host in made]
            for daemon in daemons:
                daemon.start()
            yield made, daemons

    def announce(self, host, name, port, pin):
        process = host.start(self.program, "announce", name, port, pin, stdin=subprocess.PIPE,
                             stderr=open(host.file("announce.log"), "w"))
        check(process.stdout.readline() == b"announced\n", open(host.file("announce.log")).read())
        return process

    def found(self, host, milliseconds=LOOK_MS):
        done = host.run(self.program, "find", milliseconds)
        check(done.returncode == 0, f"{done}")
        return sorted(tuple(line.split()) for line in done.stdout.decode().splitlines())

    def soon(self, host, expected, seconds=15):
        """Looks again and again, as the network's caches may lag behind."""
        end = time.monotonic() + seconds
        while (seen := self.found(host, 1000)) != expected and time.monotonic() < end:
            pass
        check(seen == expected, f"{seen}, expected {expected}")

    def both_ways(self):
        """Each machine once, one's own too; two of one name; gone when it says so."""
        with self.network("left", "right") as ((left, right), _):
            one = self.announce(left, "left", 7001, PINS[0])
            self.announce(right, "right", 7002, PINS[1])
            everybody = [("left", PINS[0], f"{left.address}:7001"), ("right", PINS[1], f"{right.address}:7002")]
            self.soon(left, everybody)
            self.soon(right, everybody)
            third = self.announce(right, "left", 7003, PINS[2])
            self.soon(left, sorted(everybody + [("left", PINS[2], f"{right.address}:7003")]))
            for host, process in ((left, one), (right, third)):
                process.stdin.close()
                check(process.wait(10) == 0, "it ends")
                host.running.remove(process)
            self.soon(left, everybody[1:])
            self.soon(right, everybody[1:])

    def link_local(self):
        """Without IPv4 an address has its scope."""
        with self.network("left", "right", v4=False) as ((left, right), _):
            self.announce(left, "left", 7001, PINS[0])
            check(wait_until(lambda: self.found(right, 1000), 15), "nothing was found")
            ((called, pin, address),) = self.found(right, 1000)
            check((called, pin) == ("left", PINS[0]), f"{called} {pin}")
            check(address.startswith("[fe80::") and address.endswith("%eth0]:7001"), address)

    def daemon_killed(self):
        """Announced again, without a word to the program; a search says what to do meanwhile."""
        with self.network("left", "right") as ((left, right), (ours, theirs)):
            self.announce(left, "left", 7001, PINS[0])
            everybody = [("left", PINS[0], f"{left.address}:7001")]
            self.soon(right, everybody)
            ours.kill()
            self.refused(left, "systemctl start avahi-daemon")
            theirs.kill()  # and all that it remembers
            theirs.start()
            check(self.found(right, 1000) == [], "who is gone is found")
            ours.start()
            self.soon(right, everybody)

    def refused(self, host, *words, env=None, commands=(("find", 500),)):
        for command in commands:
            done = host.run(self.program, *command, env=env)
            text = done.stderr.decode()
            check(done.returncode == 1 and all(word in text for word in words), f"{done}")

    def missing(self):
        """Without a library that is final, and else a search says what to do."""
        both = ("find", 500), ("announce", "x", 1, PINS[0])
        with hosts("left") as (left,):
            left.env["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={left.file('bus')}"
            self.refused(left, "apt-get install avahi-daemon", "systemctl start")
            self.refused(left, "no-such.so", "apt-get install avahi-daemon", commands=both,
                         env={"DHOLE_AVAHI_LIBRARY": "no-such.so"})
            self.refused(left, "has no avahi_", commands=both, env={"DHOLE_AVAHI_LIBRARY": "libc.so.6"})
            Daemons(left)
            self.refused(left, "systemctl start avahi-daemon")

    def late(self):
        """Who is announced before there is a daemon is announced when it comes, and said so meanwhile."""
        with hosts("left") as (left,):
            left.env["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={left.file('bus')}"
            left.env["DHOLE_LOG"] = "info"
            self.announce(left, "left", 7001, PINS[0])
            said = lambda: "not announced on the local network yet" in open(left.file("announce.log")).read()
            check(wait_until(said, 10), "it does not say so")
            Daemons(left).start()
            self.soon(left, [("left", PINS[0], f"{left.address}:7001")])

    def hung(self):
        """A daemon that says nothing holds nobody up, and is not waited for at the end."""
        with self.network("left") as ((left,), (daemons,)):
            one = self.announce(left, "left", 7001, PINS[0])
            self.soon(left, [("left", PINS[0], f"{left.address}:7001")])
            daemons.daemon.send_signal(signal.SIGSTOP)
            begin = time.monotonic()
            self.refused(left, "systemctl restart avahi-daemon")
            two = self.announce(left, "other", 7002, PINS[1])
            for announcement in one, two:
                announcement.stdin.close()
                check(announcement.wait(10) == 0, "it does not end")
            seconds = time.monotonic() - begin
            check(seconds < 3 * 2, f"all that took {seconds:.1f} s")
            daemons.daemon.send_signal(signal.SIGCONT)
            self.soon(left, [])
            return f"{seconds:.1f} s"

    def lies(self):
        with self.network("left", "right", "liar") as ((left, right, liar), _):
            self.announce(left, "left", 7001, PINS[0])
            lies = [announcement(b"lie %d" % i, *lie) for i, lie in enumerate(LIES)]
            truth = announcement(b"true", [b"junk", *strings(b"true"), b"x=" + b"y" * 250], "10.215.0.9")
            expected = {("left", PINS[0], f"{left.address}:7001"), ("true", PINS[2], "10.215.0.9:7777")}
            seen, end = set(), time.monotonic() + 20
            while seen != expected and time.monotonic() < end:
                looking = right.start(self.program, "find", LOOK_MS)
                for _ in range(3):
                    send(liar, RUBBISH + lies + [truth])
                    time.sleep(0.3)  # the pace of what is sent
                out, err = looking.communicate(timeout=20)
                check(looking.returncode == 0, f"{err}")
                seen = {tuple(line.split()) for line in out.decode().splitlines()}
                check(seen <= expected, f"{seen - expected}")
            check(seen == expected, f"{seen}")

    def flood(self):
        """Hundreds of machines that are none: a bounded list, and the program alive."""
        with self.network("right", "liar") as ((right, liar), _):
            looking = right.start(self.program, "find", LOOK_MS + 3000)
            send(liar, [announcement(b"m%d" % i, strings(b"m%d" % i), "10.215.0.9") for i in range(400)])
            out, err = looking.communicate(timeout=30)
            count = len(out.splitlines())
            check(looking.returncode == 0 and 0 < count <= 256, f"{count} machines, {err}")
            return f"{count} machines"
