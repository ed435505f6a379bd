"""A second implementation of the sealed link, of both sides, after docs/protocol-link.md: with the
standard ssl module and the package cryptography, and no code of the library's.

The module ssl has no TLS exporter, from which the lanes' keys come. But it can log a connection's
secrets (SSLContext.keylog_filename), the exporter's master secret among them, and the rest of RFC
8446, 7.5 is two steps of HKDF. So the derivation is computed here too, instead of asking OpenSSL
again, and no second TLS library is needed. Nor can ssl trust a key: a client compares it when the
handshake is over, before it says anything; a server must be given the client's certificate.
"""

import dataclasses
import datetime
import hashlib
import os
import socket
import ssl
import struct
import tempfile
import threading

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

VERSION = 1
PREAMBLE = b"dhole\0l\1"
LANE_HELLO = b"lane 1\0\0"
NO_TOKEN = bytes(16)
CONTROL, MESSAGES, BULK = range(3)
CHANNELS = ("control", "messages", "bulk")
RECORD_MAX = 1 << 18
RECORDS_A_KEY = 1 << 18
RAIL_CHUNK = RECORD_MAX
MESSAGE_MAX = 256 << 20
MAGIC, REFUSAL_MAGIC = 0xD402, 0xD403
HEADER = struct.Struct("<HBBB3xIIQ")
REFUSAL = struct.Struct("<HB5xQQ")
HELLO = struct.Struct("<HHHHHHIQ16s")
# bool, uint8..uint64, int8..int64, float16, float32, float64, bfloat16, complex64
DTYPE_SIZES = (1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 2, 8)
TIMEOUT = 60


class Refused(Exception):
    """What the other side said or sent is not what the protocol asks for."""


def pin_of(certificate):
    """Of a certificate in DER form."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)).digest()


class Identity:
    """A P-256 key and a certificate for it, which ssl takes from a file only."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dhole")])
        year = datetime.timedelta(days=365)
        now = datetime.datetime.now(datetime.timezone.utc)
        signed = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
                  .serial_number(x509.random_serial_number()).not_valid_before(now - year)
                  .not_valid_after(now + year).sign(self.key, hashes.SHA256()))
        self.certificate = signed.public_bytes(serialization.Encoding.DER)
        self.pin = pin_of(self.certificate)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "identity.pem")
        with open(self.path, "wb") as file:
            file.write(self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                              serialization.NoEncryption()))
            file.write(signed.public_bytes(serialization.Encoding.PEM))


# ---- keys -----------------------------------------------------------------------------------------

def expand_label(secret, label, context, length):
    """HKDF-Expand-Label of RFC 8446, 7.1, with the hash of TLS_AES_256_GCM_SHA384."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context
    return HKDFExpand(hashes.SHA384(), length, info).derive(secret)


def export(master, label, context, length):
    """TLS-Exporter of RFC 8446, 7.5."""
    secret = expand_label(master, label, hashlib.sha384(b"").digest(), 48)
    return expand_label(secret, b"exporter", hashlib.sha384(context).digest(), length)


def lane_secret(master, lane, direction):
    """Direction 0 is from the client to the server."""
    return export(master, b"EXPORTER-dhole-lane", struct.pack("<IB", lane, direction), 32)


def next_keys(secret):
    """The next secret, and the key."""
    both = HKDFExpand(hashes.SHA256(), 64, b"dhole lane").derive(secret)
    return both[:32], both[32:]


class Records:
    """One direction of a lane. `number` is the next record's."""

    def __init__(self, secret):
        self.secret = secret
        self.keys = self.number = 0

    def begin(self):
        """The nonce of the next record, with its key in place."""
        while self.keys <= self.number // RECORDS_A_KEY:
            self.secret, key = next_keys(self.secret)
            self.cipher = AESGCM(key)
            self.keys += 1
        self.number += 1
        return struct.pack(">IQ", 0, self.number - 1)

    def seal(self, text):
        header = struct.pack("<IB3x", len(text), 1)
        nonce = self.begin()
        return header + self.cipher.encrypt(nonce, text, header)

    def open(self, header, sealed):
        nonce = self.begin()
        try:
            return self.cipher.decrypt(nonce, sealed, header)
        except InvalidTag:
            raise Refused(f"record {self.number - 1} is not authentic") from None


def preamble(kind, token=NO_TOKEN):
    return PREAMBLE + struct.pack("<H6x", kind) + token


# ---- streams: send(data), recv(length), close() -----------------------------------------------------

class Tcp:
    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def call(cls, address, kind, token=NO_TOKEN):
        stream = cls(socket.create_connection(address, TIMEOUT))
        stream.send(preamble(kind, token))
        return stream

    def send(self, data):
        self.sock.sendall(data)

    def recv_some(self, most=1 << 16):
        data = self.sock.recv(most)
        if not data:
            raise EOFError("the stream ended")
        return data

    def recv(self, length):
        data = bytearray()
        while len(data) < length:
            data += self.recv_some(min(length - len(data), 1 << 20))
        return bytes(data)

    def close(self):
        self.sock.close()


class Tls:
    """TLS 1.3 over a connection whose preamble has gone. `master` is the exporter's. One thread may
    send while another one receives, which an SSLSocket does not take: each waits for the connection
    by itself, and `lock` is over the TLS state alone."""

    def __init__(self, tcp, identity, server_side, pin=None, certificate=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_cert_chain(identity.path)
        if server_side:
            context.num_tickets = 0
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=certificate)
        else:
            context.verify_mode = ssl.CERT_NONE
        self.tcp, self.lock, self.sending = tcp, threading.Lock(), threading.Lock()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with tempfile.NamedTemporaryFile(dir=identity.folder.name) as log:
            context.keylog_filename = log.name
            self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side)
            self.shake_hands()
            context.keylog_filename = None
            secrets = dict(line.split()[::2] for line in log.read().decode().splitlines()
                           if not line.startswith("#"))
        self.master = bytes.fromhex(secrets["EXPORTER_SECRET"])
        self.certificate = self.tls.getpeercert(binary_form=True)
        self.pin = pin_of(self.certificate)
        if pin not in (None, self.pin):
            raise Refused(f"the key is {self.pin.hex()}, not {pin.hex()}")
        if server_side:
            self.send(b"\1")
        elif self.recv(1) != b"\1":
            raise Refused("the server did not say 1")

    def shake_hands(self):
        done = False
        while not done:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            finally:
                self.tcp.send(self.outgoing.read())
            if not done:
                self.incoming.write(self.tcp.recv_some())

    def send(self, data):
        with self.sending:
            with self.lock:
                self.tls.write(data)
                sealed = self.outgoing.read()
            self.tcp.send(sealed)

    def recv(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                with self.lock:
                    piece = self.tls.read(length - len(data))
            except ssl.SSLWantReadError:
                more = self.tcp.recv_some()
                with self.lock:
                    self.incoming.write(more)
                continue
            if not piece:
                raise EOFError(f"TLS ended after {len(data)} of {length} bytes")
            data += piece
        return bytes(data)

    def close(self):
        self.tcp.close()


class Lane:
    """Records over a connection. The client's first eight bytes go with it."""

    def __init__(self, tcp, master, number, server_side):
        self.tcp = tcp
        self.sealing = Records(lane_secret(master, number, int(server_side)))
        self.opening = Records(lane_secret(master, number, int(not server_side)))
        self.opened = b""
        if not server_side:
            self.send(LANE_HELLO)
        elif self.recv(len(LANE_HELLO)) != LANE_HELLO:
            raise Refused(f"lane {number} does not begin with {LANE_HELLO}")

    def send(self, data):
        for at in range(0, len(data), RECORD_MAX):
            self.tcp.send(self.sealing.seal(data[at : at + RECORD_MAX]))

    def recv(self, length):
        pieces, have = [self.opened], len(self.opened)
        while have < length:
            header = self.tcp.recv(8)
            size, kind = struct.unpack("<IB3x", header)
            if not 1 <= size <= RECORD_MAX or kind != 1 or any(header[5:]):
                raise Refused(f"a record header {header.hex()}")
            pieces.append(self.opening.open(header, self.tcp.recv(size + 16)))
            have += size
        data = b"".join(pieces)
        self.opened = data[length:]
        return data[:length]

    def close(self):
        self.tcp.close()


class Rails:
    """Several lanes as one stream: chunk i goes over lane i modulo their number."""

    def __init__(self, lanes):
        self.lanes = lanes
        self.sent = self.received = 0

    def pieces(self, at, length):
        """(lane, bytes) of the next `length` bytes of the stream, which are at `at`."""
        while length > 0:
            size = min(length, RAIL_CHUNK - at % RAIL_CHUNK)
            yield self.lanes[at // RAIL_CHUNK % len(self.lanes)], size
            at, length = at + size, length - size

    def send(self, data):
        done = 0
        for lane, size in self.pieces(self.sent, len(data)):
            lane.send(data[done : done + size])
            done += size
        self.sent += done

    def recv(self, length):
        data = b"".join(lane.recv(size) for lane, size in self.pieces(self.received, length))
        self.received += length
        return data

    def close(self):
        for lane in self.lanes:
            lane.close()


# ---- the link -------------------------------------------------------------------------------------

@dataclasses.dataclass
class Hello:
    version: int = VERSION
    rank: int = 0
    size: int = 0
    lanes: int = 0
    session: bytes = b""
    agreement: bytes = b""
    message_max: int = MESSAGE_MAX
    token: bytes = NO_TOKEN

    def encode(self):
        return HELLO.pack(self.version, self.rank, self.size, self.lanes, len(self.session), len(self.agreement), 0,
                          self.message_max, self.token) + self.session + self.agreement

    @classmethod
    def read(cls, stream):
        (version, rank, size, lanes, session, agreement, zero, message_max,
         token) = HELLO.unpack(stream.recv(HELLO.size))
        if session > 64 or agreement > 1024 or zero or lanes > 8:
            raise Refused(f"a malformed hello of version {version}")
        return cls(version, rank, size, lanes, stream.recv(session), stream.recv(agreement), message_max, token)

    def check(self, other):
        for name in ("version", "session", "agreement", "size"):
            if getattr(self, name) != getattr(other, name):
                raise Refused(f"the {name}s differ: {getattr(self, name)} and {getattr(other, name)}")
        if self.size > 0 and self.rank == other.rank:
            raise Refused(f"both have rank {self.rank}")


@dataclasses.dataclass
class Message:
    tag: int
    dtype: int
    shape: tuple
    data: bytes


def message_header(channel, number, message):
    return HEADER.pack(MAGIC, channel, message.dtype, len(message.shape), message.tag, 0,
                       number) + struct.pack(f"<{len(message.shape)}Q", *message.shape)


class TooLarge(Refused):
    """The other side refused a message, and the link is over."""

    def __init__(self, channel, size, most):
        super().__init__(f"a message of {size} bytes on {CHANNELS[channel]}: at most {most} are taken")
        self.channel, self.size, self.most = channel, size, most


def refusal(channel, size, most):
    return REFUSAL.pack(REFUSAL_MAGIC, channel, size, most)


class Channel:
    def __init__(self, number, stream):
        self.number, self.stream = number, stream
        self.sent = self.received = 0

    def send(self, message):
        self.stream.send(message_header(self.number, self.sent, message) + message.data)
        self.sent += 1

    def recv(self):
        head = self.stream.recv(HEADER.size)
        if self.number == CONTROL and head[:2] == REFUSAL_MAGIC.to_bytes(2, "little"):
            raise TooLarge(*REFUSAL.unpack(head)[1:])
        magic, channel, dtype, dims, tag, zero, number = HEADER.unpack(head)
        if (magic, channel, zero, number, head[5:8]) != (MAGIC, self.number, 0, self.received, bytes(3)):
            raise Refused(f"a message header {head.hex()}")
        if dtype >= len(DTYPE_SIZES) or dims > 8:
            raise Refused(f"a message of type {dtype}, {dims} dimensions")
        self.received += 1
        shape = struct.unpack(f"<{dims}Q", self.stream.recv(8 * dims))
        size = DTYPE_SIZES[dtype]
        for extent in shape:
            size *= extent
        if size > MESSAGE_MAX:
            raise Refused(f"a message of {size} bytes")
        return Message(tag, dtype, shape, self.stream.recv(size))


class Link:
    """A link that is up: `control`, and `messages` and `bulk` where it has lanes."""

    def __init__(self, tls, own, other, lanes):
        self.tls, self.own, self.other, self.lanes = tls, own, other, lanes
        self.control = Channel(CONTROL, tls)
        if lanes:
            bulk = lanes[1:]
            self.messages = Channel(MESSAGES, lanes[0])
            self.bulk = Channel(BULK, bulk[0] if len(bulk) == 1 else Rails(bulk))
        self.channels = [self.control] + ([self.messages, self.bulk] if lanes else [])

    def close(self):
        for stream in (*self.lanes, self.tls):
            stream.close()


def lane_count(bulk_lanes):
    """MESSAGES, and those of BULK; none where there is CONTROL alone."""
    return bulk_lanes and bulk_lanes + 1


def rail(lane, count):
    """Which of `count` addresses a lane goes to: lane 0, of MESSAGES, to the first."""
    return max(lane - 1, 0) % count


def connect(addresses, identity, pin, **hello):
    """To one address, or to a list of them, over which the lanes of BULK are spread."""
    addresses = addresses if isinstance(addresses, list) else [addresses]
    own = Hello(**hello)
    tls = Tls(Tcp.call(addresses[0], 0), identity, False, pin)
    tls.send(own.encode())
    other = Hello.read(tls)
    own.check(other)
    lanes = [Lane(Tcp.call(addresses[rail(i, len(addresses))], 1 + i, other.token), tls.master, i, False)
             for i in range(lane_count(own.lanes))]
    if tls.recv(1) != b"\1":
        raise Refused("the server did not say that all lanes are there")
    return Link(tls, own, other, lanes)


def read_preamble(tcp):
    """(kind, token)"""
    data = tcp.recv(32)
    if data[:8] != PREAMBLE or any(data[10:16]):
        raise Refused(f"a preamble {data.hex()}")
    return struct.unpack("<H", data[8:10])[0], data[16:]


def accept(listeners, identity, certificate, **hello):
    """The next link of the one client that has `certificate`; nobody else may call meanwhile, and it
    spreads the lanes over the listeners, where there are several, as `connect` does."""
    listeners = listeners if isinstance(listeners, list) else [listeners]
    own = Hello(token=os.urandom(16), **hello)
    tcp = Tcp(listeners[0].accept()[0])
    if read_preamble(tcp) != (0, NO_TOKEN):
        raise Refused("the first connection is not CONTROL")
    tls = Tls(tcp, identity, True, certificate=certificate)
    tls.send(own.encode())
    other = Hello.read(tls)
    own.check(other)
    lanes = [None] * lane_count(other.lanes)
    for i in range(len(lanes)):
        tcp = Tcp(listeners[rail(i, len(listeners))].accept()[0])
        kind, token = read_preamble(tcp)
        if token != own.token or not 1 <= kind <= len(lanes) or lanes[kind - 1]:
            raise Refused(f"a lane {kind} with token {token.hex()}")
        lanes[kind - 1] = Lane(tcp, tls.master, kind - 1, True)
    tls.send(b"\1")
    return Link(tls, own, other, lanes)
