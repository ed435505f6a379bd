#!/usr/bin/env python3
"""Judges the sealed link against whoever sits on the network between its two sides: every byte of a
session is flipped in turn, and frames are replayed, swapped, cut, grown, and sent where they do not
belong. Nothing but what was sent may be released, and no session may pass as whole.

    hostile.py --sessions PROGRAM [--bits N] [--stride N] [--only TEXT]

PROGRAM is link_sessions. Flips N bits of each byte, 1 by default, and of every byte.
"""

import argparse
import collections
import os
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "cli"))

from harness import Suite, check
from proxy import DIRECTIONS, RECORD_HEADER, RECORD_TAG, TLS_HEADER, TO_SERVER, Place, Proxy

PATIENCE = 600
APPLICATION_DATA = 23  # TLS's type of whatever is encrypted
KINDS = ("CONTROL", "MESSAGES", "BULK", "BULK 1")
# One message at a time, so that it is known which byte belongs to which; then several.
SHORT = ("1", "c:24:1", "m:40:1", "b:56:1", "m:1:1", "b:9:1")
PIPELINED = ("1", "c:24:3", "m:40:3", "b:56:3", "c:24:1", "m:40:1", "b:56:1")
LARGE = ("2", "b:600000:1", "m:100:1")

Side = collections.namedtuple("Side", "released true error message")


class Sessions:
    """link_sessions behind a proxy."""

    def __init__(self, program, shape):
        self.log = tempfile.TemporaryFile()
        self.messages = sum(int(step.split(":")[2]) for step in shape[1:])
        self.process = subprocess.Popen([os.path.abspath(program), *shape], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log)
        self.watchdog = threading.Timer(PATIENCE, self.process.kill)
        self.watchdog.start()
        self.server = self.process.stdout.readline().decode().strip()
        self.proxy = Proxy(self.server, self.process.stdout)
        self.reference = self.run()
        client, server = self.sides(self.reference)
        check(self.whole(self.reference), f"left alone, it fails: {client}, {server}")
        self.one_frame_each = len(self.data_frames()) == 2 * self.messages

    def run(self, tamper=None, **carry):
        self.process.stdin.write(self.proxy.address.encode() + b"\n")
        self.process.stdin.flush()
        session = self.proxy.carry(tamper, **carry)
        if not session.answer:
            self.log.seek(0)
            raise AssertionError(f"the process ended with {self.process.wait()}: {self.log.read()[-3000:]}")
        for side in self.sides(session):
            check(side.true == "true", f"something was released that nobody sent: {session.answer}")
        return session

    def sides(self, session):
        fields = session.answer.rstrip("\n").split("|")
        check(len(fields) == 8, session.answer)
        return [Side(int(fields[at]), *fields[at + 1 : at + 4]) for at in (0, 4)]

    def whole(self, session):
        """Whether both sides have everything. The server ends with hearing the client leave."""
        client, server = self.sides(session)
        return (client.error, server.error) == ("DHOLE_OK", "DHOLE_ERR_PEER_LOST") and (
            client.released, server.released) == (self.messages, self.messages)

    def data_frames(self):
        """The places of the messages, in the order in which they crossed, from the first that follows
        the server's word that all lanes are there."""
        order = list(self.reference.frames)
        kinds = {place.kind for place in order}
        first = max(order.index(Place(kind, TO_SERVER, 1)) for kind in kinds) + 2
        last = max(i for i, place in enumerate(order) if place.kind > 0)
        return order[first : last + 1]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.watchdog.cancel()
        self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        self.log.close()
        check(error[0] or code == 0, f"link_sessions ended with {code}")


def at(place):
    return f"{KINDS[place.kind]} {DIRECTIONS[place.direction]}, frame {place.index}"


def flipped(frame, byte, bit):
    changed = bytearray(frame)
    changed[byte] ^= 1 << bit
    return bytes(changed)


# ---- flips ------------------------------------------------------------------------------------------

def means_nothing(place, frame, byte):
    """The minor version in front of a TLS record that is not encrypted, which RFC 8446, 5.1, has
    everybody ignore."""
    is_preamble = place.direction == TO_SERVER and place.index == 0
    return place.kind == 0 and not is_preamble and frame[0] != APPLICATION_DATA and byte == 2


def waits_for_more(place, byte):
    """Whether the byte is of a length, so that the receiver may wait for what never comes."""
    return byte < RECORD_HEADER if place.kind > 0 else byte < TLS_HEADER


def check_refusal(sessions, session, place, byte):
    """Who has released what, and how the receiver says so, when a message was changed on its way."""
    data = sessions.data_frames()
    client, server = sessions.sides(session)
    receiver = (server, client)[place.direction]
    check(session.stuck and waits_for_more(place, byte) or receiver.error == "DHOLE_ERR_AUTH",
          f"refused otherwise: {session.answer}")
    if sessions.one_frame_each:
        before = data.index(place)
        check((client.released, server.released) == (before // 2, (before + 1) // 2),
              f"{before} messages had crossed, and {session.answer}")


def flip(sessions, place, byte, bit, tally):
    """When a lane is refused while the link is made, or a length becomes larger, both sides may wait,
    for another lane, or for more."""
    reached = []

    def tamper(here, frame, _):
        if here != place or byte >= len(frame):
            return frame
        reached.append(frame)
        return flipped(frame, byte, bit)

    is_data = place in sessions.data_frames()
    may_wait = waits_for_more(place, byte) or (place.kind > 0 and not is_data)
    session = sessions.run(tamper, idle=0.05 if may_wait else 10)
    where = f"bit {bit} of byte {byte} of {at(place)}"
    check(may_wait or not session.stuck, f"{where}: both sides wait")
    tally["cut off"] += session.stuck
    if not reached:
        tally["not reached"] += 1  # signatures differ in length
    elif sessions.whole(session):
        check(means_nothing(place, reached[0], byte), f"{where} changed nothing")
        tally["ignored"] += 1
    else:
        tally["refused"] += 1
        if is_data:
            check_refusal(sessions, session, place, byte)


def said_last(sessions, place):
    """Goodbyes: who says one is gone, and whoever hears it has got everything already."""
    order = list(sessions.reference.frames)
    return order.index(place) > order.index(sessions.data_frames()[-1])


def flip_all(program, bits, stride):
    tally = collections.Counter()
    with Sessions(program, SHORT) as sessions:
        check(sessions.one_frame_each, "a message takes several frames")
        for place, frame in sessions.reference.frames.items():
            if said_last(sessions, place):
                continue
            for byte in range(0, len(frame), stride):
                for bit in range(bits):
                    flip(sessions, place, byte, (byte + bit) % 8, tally)
        check(sessions.whole(sessions.run()), "it does not work any more")
    check(tally["not reached"] < 10 and tally["ignored"] <= 2, str(dict(tally)))
    return ", ".join(f"{count} {what}" for what, count in tally.items())


def flip_goodbye(program):
    """The end of a link that is not authentic is told from one that is."""
    with Sessions(program, SHORT) as sessions:
        for place, frame in sessions.reference.frames.items():
            if place.direction != TO_SERVER or not said_last(sessions, place):
                continue
            for byte in range(TLS_HEADER, len(frame)):
                session = sessions.run(lambda here, f, _: flipped(f, byte, 0) if here == place else f)
                check(sessions.sides(session)[1].error == "DHOLE_ERR_AUTH", session.answer)


def flip_large(program):
    """Of messages of several records on several lanes: headers, ends, tags, and some of the middle."""
    tally = collections.Counter()
    with Sessions(program, LARGE) as sessions:
        data = [(place, frame) for place, frame in sessions.reference.frames.items() if len(frame) > 1000]
        check(len({place.kind for place, _ in data}) == 2, "not all lanes are used")
        for place, frame in data:
            middle = range(RECORD_HEADER, len(frame) - RECORD_TAG)
            for byte in [*range(2, RECORD_HEADER), middle[0], middle[-1], *middle[:: len(middle) // 3],
                         len(frame) - RECORD_TAG, len(frame) - 1]:
                flip(sessions, place, byte, byte % 8, tally)
    return ", ".join(f"{count} {what}" for what, count in tally.items())


# ---- frames -----------------------------------------------------------------------------------------

def resize(frame, change):
    """A record with that many bytes more, or fewer, and the length that goes with it."""
    length = len(frame) - RECORD_HEADER - RECORD_TAG + change
    body = frame[RECORD_HEADER:] + bytes(max(change, 0))
    return length.to_bytes(4, "little") + frame[4:RECORD_HEADER] + body[: len(body) + min(change, 0)]


def resize_tls(frame, change):
    body = frame[TLS_HEADER:] + bytes(max(change, 0))
    body = body[: len(body) + min(change, 0)]
    return frame[:3] + len(body).to_bytes(2, "big") + body


class Tampering:
    """What is done to the frame at `place`; `old` is another session's frame from there."""

    def __init__(self, place, old):
        self.place, self.old, self.held = place, old, None

    def resize(self, frame, change):
        return (resize if self.place.kind > 0 else resize_tls)(frame, change)

    def replay(self, frame, proxy):
        return frame + frame

    def drop(self, frame, proxy):
        return b""

    def swap(self, frame, proxy):
        self.held = frame
        return b""

    def cut(self, frame, proxy):
        proxy.hang_up(self.place)
        return frame[:-1]

    def shorten(self, frame, proxy):
        return self.resize(frame, -1)

    def grow(self, frame, proxy):
        return self.resize(frame, 1)

    def add_a_byte(self, frame, proxy):
        return frame + b"\0"

    def other_lane(self, frame, proxy):
        proxy.inject(3 - self.place.kind if self.place.kind > 0 else 1, self.place.direction, frame)
        return b""

    def reflect(self, frame, proxy):
        proxy.inject(self.place.kind, 1 - self.place.direction, frame)
        return b""

    def old_session(self, frame, proxy):
        return self.old

    def old_session_before(self, frame, proxy):
        return self.old + frame

    def hook(self, name):
        def tamper(here, frame, proxy):
            if here == self.place:
                return getattr(self, name)(frame, proxy)
            if self.held and here == self.place._replace(index=self.place.index + 1):
                held, self.held = self.held, None
                return frame + held
            return frame

        return tamper


TAMPERINGS = [name for name in vars(Tampering) if not name.startswith("_") and name not in ("resize", "hook")]


def tamper_with_frames(program, name):
    """Done to each message that is not the last in its direction, where nobody would listen for
    what comes after it."""
    with Sessions(program, PIPELINED) as sessions:
        last = {}
        for place in sessions.data_frames():
            last[place.kind, place.direction] = place
        for place in sessions.data_frames():
            if place in last.values():
                continue
            tampering = Tampering(place, sessions.reference.frames[place])
            session = sessions.run(tampering.hook(name), idle=0.3)
            client, server = sessions.sides(session)
            check(not sessions.whole(session), f"{at(place)}: it passed as whole")
            receiver = (server, client)[place.direction]
            lost = session.stuck or name == "cut"
            check(lost or receiver.error == "DHOLE_ERR_AUTH" or name == "reflect", f"{at(place)}: {session.answer}")
        check(sessions.whole(sessions.run()), "it does not work any more")


def replay_session(program):
    """All that a client has sent, connection by connection, to the same server again."""
    with Sessions(program, SHORT) as sessions:
        host, port = sessions.server.rsplit(":", 1)
        kinds = sorted({place.kind for place in sessions.reference.frames})
        socks = []
        for kind in kinds:
            socks.append(socket.create_connection((host, int(port))))
            socks[-1].sendall(b"".join(frame for place, frame in sessions.reference.frames.items()
                                       if place.kind == kind and place.direction == TO_SERVER))
        check(sessions.whole(sessions.run()), "it keeps the real client away")
        for sock in socks:
            sock.settimeout(PATIENCE)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            sock.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", required=True)
    parser.add_argument("--bits", type=int, default=1)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    suite = Suite(args.only)
    suite.case("every byte flipped", flip_all, args.sessions, args.bits, args.stride)
    suite.case("the goodbye flipped", flip_goodbye, args.sessions)
    suite.case("large messages flipped", flip_large, args.sessions)
    for name in TAMPERINGS:
        suite.case(f"frames: {name.replace('_', ' ')}", tamper_with_frames, args.sessions, name)
    suite.case("a session replayed", replay_session, args.sessions)
    return suite.finish()


sys.exit(main())
