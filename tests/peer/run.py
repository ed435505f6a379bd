#!/usr/bin/env python3
"""Judges the sealed link against a second implementation of it: link.py, in Python.

    run.py --echo PROGRAM --dhole PROGRAM [--only TEXT]

The first program is link_echo. Both ways, all channels, types and shapes; then what a peer that
holds a trusted key may try; and pairing.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "cli"))

import link
import pairing
import vectors
from harness import Skip, Suite, check
from link import BULK, CHANNELS, CONTROL, MESSAGES, Message

PATIENCE = 120
MIB = 1 << 20
SHAPES = [(), (1,), (0,), (7,), (3, 5), (2, 0, 4), (1, 1, 1, 1, 1, 1, 1, 1), (4, 3, 2, 1, 2, 3, 4, 1)]


def noise(size, seed=0):
    """Bytes that repeat with no period of the protocol's."""
    block = bytes((i * i + 7 * i + seed) % 251 for i in range(4099))
    return (block * (size // len(block) + 1))[:size]


def message(dtype, shape, tag=0):
    size = link.DTYPE_SIZES[dtype]
    for extent in shape:
        size *= extent
    return Message(tag, dtype, shape, noise(size, dtype))


def fingerprint(pin):
    return "sha256:" + pin.hex()


class Echo:
    """link_echo, which sends every message back. Killed when it says nothing for long."""

    def __init__(self, program, identity, pin=None, **options):
        self.log = tempfile.TemporaryFile()
        words = [f"{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen([program, fingerprint(pin or identity.pin), *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.watchdog = threading.Timer(PATIENCE, self.process.kill)
        self.watchdog.start()
        self.identity = identity
        self.pin = bytes.fromhex(self.line().removeprefix("sha256:"))
        self.address = None

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"link_echo ended with {self.process.wait()}: {self.logged()}")
        return line.rstrip("\n")

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def listen(self, address):
        """All that it listens at."""
        self.say("listen " + address)
        pairs = [at.rsplit(":", 1) for at in self.line().split(",")]
        return [(host, int(port)) for host, port in pairs]

    def accept(self):
        """Where it takes the next link."""
        if not self.address:
            self.address, = self.listen("127.0.0.1:0")
        self.say("accept")
        return self.address

    def ends(self, count=len(CHANNELS)):
        """Channel -> error of the next channels that fail."""
        return dict(self.line().partition(":")[0].split() for _ in range(count))

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.watchdog.cancel()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.log.close()
        check(error[0] or code == 0, f"link_echo ended with {code}")


def connect(echo, identity=None, **hello):
    """A link to it, with the channels that it says are up."""
    made = link.connect(echo.accept(), identity or echo.identity, echo.pin, **hello)
    check(echo.line() == "up", "it did not say that the link is up")
    return made


def finish(echo, made, lanes):
    made.close()
    lost = echo.ends()
    none = "DHOLE_ERR_PEER_LOST" if lanes else "DHOLE_ERR_INVALID"
    check(lost == {"control": "DHOLE_ERR_PEER_LOST", "messages": none, "bulk": none}, str(lost))


def exchange(channel, sent):
    """All of them at once, while they come back."""
    sender = threading.Thread(target=lambda: [channel.send(m) for m in sent])
    sender.start()
    for number, want in enumerate(sent):
        got = channel.recv()
        check(got == want, f"message {number} came back as {got.tag, got.dtype, got.shape}")
    sender.join()


def all_types(channel):
    exchange(channel, [message(dtype, shape, tag=dtype << 24 | i) for dtype in range(len(link.DTYPE_SIZES))
                       for i, shape in enumerate(SHAPES)])


def talk(made):
    """Everything that a link carries, on all channels at once."""
    threads = []
    for channel in made.channels:
        all_types(channel)
        sizes = {CONTROL: [65536, 16384, 65535], MESSAGES: [MIB, 4608], BULK: [24 * MIB + 5, 3, 256 * 1024 - 24]}
        large = [message(1, (size,)) for size in sizes[channel.number]]
        threads.append(threading.Thread(target=exchange, args=(channel, large)))
    failures = []
    threading.excepthook = lambda failure: failures.append(failure.exc_value)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not failures, str(failures))


def we_call(program, identity, lanes):
    with Echo(program, identity) as echo:
        made = connect(echo, lanes=lanes)
        talk(made)
        finish(echo, made, lanes)


def we_are_called(program, identity, lanes):
    """It must be known by certificate first, so it is called once."""
    with Echo(program, identity, lanes=lanes) as echo, socket.create_server(("127.0.0.1", 0)) as listener:
        first = connect(echo)
        certificate = first.tls.certificate
        finish(echo, first, 0)
        listener.settimeout(PATIENCE)
        echo.say("call 127.0.0.1:%d" % listener.getsockname()[1])
        made = link.accept(listener, identity, certificate)
        check(echo.line() == "up", "the link is not up")
        talk(made)
        finish(echo, made, lanes)


def two_addresses(program, identity):
    """Both ways, the lanes of BULK take turns between two addresses."""
    try:
        ours = [socket.create_server((host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    except OSError as error:
        raise Skip(f"loopback has one address: {error}") from None
    for listener in ours:
        listener.settimeout(PATIENCE)
    with Echo(program, identity, lanes=3) as echo:
        theirs = echo.listen("127.0.0.1:0,127.0.0.2:0")
        echo.say("accept")
        made = link.connect(theirs, identity, echo.pin, lanes=3)
        check(echo.line() == "up", "the link is not up")
        talk(made)
        finish(echo, made, 3)
        echo.say("call " + ",".join("%s:%d" % listener.getsockname() for listener in ours))
        made = link.accept(ours, identity, made.tls.certificate)
        check(echo.line() == "up", "the link is not up")
        talk(made)
        finish(echo, made, 3)
    for listener in ours:
        listener.close()


def next_key(program, identity):
    """More records than one key may seal."""
    with Echo(program, identity) as echo:
        made = connect(echo, lanes=1)
        text = noise(link.RECORDS_A_KEY + 100)
        stream = made.messages.stream
        stream.send(link.message_header(MESSAGES, 0, Message(9, 1, (len(text),), b"")))
        for at in range(0, len(text), 64):
            stream.tcp.send(b"".join(stream.sealing.seal(text[i : i + 1])
                                     for i in range(at, min(at + 64, len(text)))))
        check(made.messages.recv().data == text, "it came back changed")
        check(stream.sealing.number > link.RECORDS_A_KEY, "not so many records")
        finish(echo, made, 1)


# ---- who is refused ---------------------------------------------------------------------------------

def refused(call, what):
    try:
        call()
    except (link.Refused, OSError, EOFError) as error:
        return str(error)
    raise AssertionError(f"{what} was accepted")


def wrong_key(program, identity):
    """It does not take a client with another key, and goes on listening."""
    stranger = link.Identity()
    with Echo(program, identity) as echo:
        address = echo.accept()
        refused(lambda: link.connect(address, stranger, echo.pin), "a stranger")
        refused(lambda: link.connect(address, identity, stranger.pin), "another server")
        made = link.connect(address, identity, echo.pin, lanes=1)
        check(echo.line() == "up", "not up")
        all_types(made.messages)
        finish(echo, made, 1)


def differing_hello(program, identity):
    """Both sides refuse; when it called, it says what both had said."""
    ours = dict(session=b"alpha", agreement=b"model 7", size=3, rank=1)
    options = dict(session="alpha", agreement="model 7", size=3, rank=2)
    wrong = {"session": b"beta", "agreement": b"model 8", "size": 2, "rank": 2, "version": 2, "lanes": 9}
    with Echo(program, identity, **options) as echo, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        address = echo.accept()
        for name, value in wrong.items():
            refused(lambda: link.connect(address, identity, echo.pin, **{**ours, name: value}), f"{name} {value}")
        made = link.connect(address, identity, echo.pin, **ours)
        check(echo.line() == "up", "not up")
        certificate = made.tls.certificate
        finish(echo, made, 0)
        for name, value in wrong.items():
            if name == "lanes":
                continue
            echo.say("call 127.0.0.1:%d" % listener.getsockname()[1])
            refused(lambda: link.accept(listener, identity, certificate, **{**ours, name: value}), name)
            said = echo.line()
            both = {"rank": "2"}.get(name, value.decode() if isinstance(value, bytes) else str(value))
            check(said.startswith("DHOLE_ERR_MISMATCH") and both in said, f"{name} {value}: {said}")


# ---- what a trusted peer may try --------------------------------------------------------------------

def header(channel=MESSAGES, number=0, magic=link.MAGIC, dtype=1, dims=1, reserved=bytes(3), tag=0, zero=0):
    return struct.pack("<HBBB3sIIQ", magic, channel, dtype, dims, reserved, tag, zero, number)


def shape(*extents):
    return struct.pack(f"<{len(extents)}Q", *extents)


def after_one(text):
    return header() + shape(1) + b"x" + text


PROTOCOL, LIMIT = "DHOLE_ERR_PROTOCOL", "DHOLE_ERR_LIMIT"
BEYOND = 2**64 - 1  # what is called the size of a message that is too large to address
# With the error, or the size that is refused, if any.
BAD_MESSAGES = [
    ("a magic", header(magic=0xD401) + shape(1) + b"x", PROTOCOL),
    ("a channel", header(channel=BULK) + shape(1) + b"x", PROTOCOL),
    ("a type", header(dtype=14) + shape(1) + b"x", PROTOCOL),
    ("the last type", header(dtype=255) + shape(1) + b"x", PROTOCOL),
    ("nine dimensions", header(dims=9) + shape(*[1] * 9) + b"x", PROTOCOL),
    ("255 dimensions", header(dims=255) + shape(*[1] * 255) + b"x", PROTOCOL),
    ("reserved bytes", header(reserved=b"\0\0\1") + shape(1) + b"x", PROTOCOL),
    ("a reserved number", header(zero=1) + shape(1) + b"x", PROTOCOL),
    ("a number left out", header(number=1) + shape(1) + b"x", PROTOCOL),
    ("a number again", after_one(header(number=0) + shape(1) + b"x"), PROTOCOL),
    ("the largest number", header(number=2**64 - 1) + shape(1) + b"x", PROTOCOL),
    ("one byte too many", header() + shape(MIB + 1), MIB + 1),
    ("a terabyte", header(dims=2) + shape(1 << 20, 1 << 20), 1 << 40),
    ("2^64 bytes", header(dims=2) + shape(1 << 32, 1 << 32), BEYOND),
    ("2^64 elements of eight bytes", header(dtype=4) + shape(2**64 - 1), BEYOND),
    ("a product that wraps around to little", header(dims=2, dtype=4) + shape(2**63, 2), BEYOND),
    ("nothing, in a shape beyond all bounds", header(dims=3) + shape(2**63, 2**63, 0), None),
]


def expect_refusal(made, channel, size, most):
    """It says on CONTROL what it has refused."""
    try:
        made.control.recv()
    except link.TooLarge as error:
        check((error.channel, error.size, error.most) == (channel, size, most), str(error))
        return
    raise AssertionError("it did not say that it refuses that")


def bad_message(program, identity, name, text, error):
    """It ends the link; a good one can be made at once."""
    with Echo(program, identity, message_max=MIB) as echo:
        made = connect(echo, lanes=1)
        made.messages.stream.send(text)
        if text.startswith(after_one(b"")):
            check(made.messages.recv().data == b"x", "the good message did not come back")
        if error is None:
            check(made.messages.recv().data == b"", "it did not come back")
            error = "DHOLE_ERR_PEER_LOST"
        elif error == PROTOCOL:
            refused(lambda: made.messages.recv(), name)
        else:
            expect_refusal(made, MESSAGES, error, MIB)
            error = LIMIT
        made.close()
        ends = echo.ends()
        check(set(ends.values()) == {error}, str(ends))
        finish(echo, connect(echo), 0)


def we_refuse(program, identity):
    """It learns in words what we have refused."""
    with Echo(program, identity) as echo:
        made = connect(echo, lanes=1)
        made.tls.send(link.refusal(BULK, 5000, 1000))
        for _ in CHANNELS:
            line = echo.line()
            check(LIMIT in line and "5000 bytes on BULK: it takes at most 1000" in line, line)
        made.close()
        for text in (link.refusal(3, 5000, 1000), link.refusal(BULK, 1000, 1000)):
            made = connect(echo)
            made.tls.send(text)
            check(echo.ends()["control"] == PROTOCOL, "it believes a malformed refusal")
            made.close()


BAD_RECORDS = [
    ("an empty record", lambda lane: struct.pack("<IB3x", 0, 1) + bytes(16)),
    ("a record too long", lambda lane: struct.pack("<IB3x", link.RECORD_MAX + 1, 1) + bytes(64)),
    ("a length of 2^32 - 1", lambda lane: struct.pack("<IB3x", 2**32 - 1, 1) + bytes(64)),
    ("a type of record", lambda lane: struct.pack("<IB3x", 8, 2) + bytes(24)),
    ("a record of zeroes", lambda lane: struct.pack("<IB3x", 8, 1) + bytes(24)),
    ("plain text", lambda lane: header() + shape(1) + b"x"),
    ("a record of the next number", lambda lane: lane.sealing.seal(b"lost") and lane.sealing.seal(header())),
    ("a record of the other direction", lambda lane: lane.opening.seal(header())),
]


def bad_record(program, identity, name, make):
    with Echo(program, identity) as echo:
        made = connect(echo, lanes=1)
        lane = made.messages.stream
        lane.tcp.send(make(lane))
        refused(lambda: made.messages.recv(), name)
        made.close()
        ends = echo.ends()
        check(set(ends.values()) == {"DHOLE_ERR_AUTH"}, str(ends))
        finish(echo, connect(echo), 0)


def bad_lanes(program, identity):
    """Tokens, kinds and first bytes of lanes that are not the link's: it does not come up, and the
    next one does."""
    preamble = link.PREAMBLE

    def lane(address, kind, token, first=None):
        with contextlib.closing(socket.create_connection(address)) as sock:
            sock.sendall(preamble + struct.pack("<H6x", kind) + token + (first or b""))
            sock.settimeout(PATIENCE)
            refused(lambda: sock.recv(1) or refuse(), f"lane {kind}")

    def refuse():
        raise EOFError

    with Echo(program, identity) as echo:
        address = echo.accept()
        tls = link.Tls(link.Tcp.call(address, 0), identity, False, echo.pin)
        tls.send(link.Hello(lanes=1).encode())
        token = link.Hello.read(tls).token
        check(any(token), "its token is zero")
        lane(address, 1, os.urandom(16))
        lane(address, 1, link.NO_TOKEN)
        lane(address, 3, token)
        lane(address, 99, token)
        lane(address, 1, token, link.Records(link.lane_secret(tls.master, 1, 0)).seal(link.LANE_HELLO))
        lane(address, 1, token, link.Records(link.lane_secret(tls.master, 0, 0)).seal(b"lane 2\0\0"))
        good = [link.Lane(link.Tcp.call(address, 1 + i, token), tls.master, i, False) for i in (1, 0)]
        check(tls.recv(1) == b"\1", "not all lanes are there")
        check(echo.line() == "up", "not up")
        made = link.Link(tls, None, None, good[::-1])
        all_types(made.bulk)
        finish(echo, made, 1)


def control_too_long(program, identity):
    with Echo(program, identity) as echo:
        made = connect(echo)
        made.tls.send(header(CONTROL) + shape(65537))
        expect_refusal(made, CONTROL, 65537, 65536)
        ends = echo.ends()
        check(ends["control"] == LIMIT, str(ends))
        made.close()


# ---- pairing ----------------------------------------------------------------------------------------

@contextlib.contextmanager
def pairing_maker(dhole):
    """dhole pair, its token, and what it says when somebody has joined."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["pair", "--name", "maker", "--json", "--identity", f"{folder}/identity.pem", "--trust",
                 f"{folder}/trusted"]
        process = subprocess.Popen([dhole, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            token = json.loads(process.stdout.readline())["token"]
            yield token, lambda: json.loads(process.stdout.readline())
            check(process.wait() == 0, "dhole pair failed")
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
            process.stdout.close()


def pair(dhole, identity):
    """A wrong secret is refused without a reason, the right one pins both; the token says what we would
    write."""
    with pairing_maker(dhole) as (text, joined):
        token = pairing.Token.decode(text)
        check(token.encode() == text, "a token is not what it says")
        wrong = dataclasses.replace(token, secret=bytes(16))
        refused(lambda: pairing.join(wrong, identity, "mallory"), "a wrong secret")
        maker = pairing.join(token, identity, "joiner", "192.0.2.7:7777")
        check(maker[0] == "maker", str(maker))
        who = joined()
        check((who["name"], who["fingerprint"], who["address"]) == ("joiner", fingerprint(identity.pin),
                                                                    "192.0.2.7:7777"), str(who))


def page():
    computed, written = vectors.compute(), vectors.read()
    for name in computed.keys() | written.keys():
        check(name in written and written[name] == computed.get(name), f"{name}: python3 tests/peer/vectors.py")
    return f"{len(computed)} vectors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--echo", required=True)
    parser.add_argument("--dhole", required=True)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    suite = Suite(args.only)
    identity = link.Identity()
    given = os.path.abspath(args.echo), identity
    for lanes in (0, 1, 2, 8):
        suite.case(f"we call, {lanes} lanes", we_call, *given, lanes)
    for lanes in (0, 1, 3):
        suite.case(f"we are called, {lanes} lanes", we_are_called, *given, lanes)
    suite.case("two addresses", two_addresses, *given)
    suite.case("the next key", next_key, *given)
    suite.case("wrong keys", wrong_key, *given)
    suite.case("hellos that differ", differing_hello, *given)
    suite.case("lanes that are not the link's", bad_lanes, *given)
    suite.case("a control message too long", control_too_long, *given)
    suite.case("what we refuse", we_refuse, *given)
    for name, text, error in BAD_MESSAGES:
        suite.case(f"message: {name}", bad_message, *given, name, text, error)
    for name, make in BAD_RECORDS:
        suite.case(f"record: {name}", bad_record, *given, name, make)
    suite.case("pairing", pair, os.path.abspath(args.dhole), identity)
    suite.case("vectors", page)
    return suite.finish()


sys.exit(main())
