"""Join tokens and the joiner's side of pairing, after docs/protocol-session.md."""

import base64
import dataclasses
import hashlib
import hmac
import struct

import link

PREFIX = "dhole1-"
JOINS, TAKEN, REFUSED = 1, 2, 3
JOINER, MAKER = 0, 1
U8 = 1


@dataclasses.dataclass
class Token:
    pin: bytes
    secret: bytes
    expiry: int
    addresses: list

    def encode(self):
        text = self.pin + self.secret + struct.pack("<QB", self.expiry, len(self.addresses))
        text += b"".join(bytes([len(address)]) + address.encode() for address in self.addresses)
        text += hashlib.sha256(text).digest()[:4]
        return PREFIX + base64.urlsafe_b64encode(text).decode().rstrip("=")

    @classmethod
    def decode(cls, text):
        digits = text.removeprefix(PREFIX)
        data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        if hashlib.sha256(data[:-4]).digest()[:4] != data[-4:]:
            raise link.Refused("a damaged token")
        expiry, count = struct.unpack("<QB", data[48:57])
        addresses, at = [], 57
        for _ in range(count):
            addresses.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        return cls(data[:32], data[32:48], expiry, addresses)


def proof(secret, role, exporter, joiner, maker):
    return hmac.digest(secret, b"dhole pairing 1" + bytes([role]) + exporter + joiner + maker, "sha256")


def words(proof_of, name, address):
    return proof_of + bytes([len(name)]) + name.encode() + bytes([len(address)]) + address.encode()


def join(token, identity, name, address=""):
    """(name, address) of who made the token."""
    host, port = token.addresses[0].rsplit(":", 1)
    made = link.connect((host, int(port)), identity, token.pin, session=b"pairing")
    exporter = link.export(made.tls.master, b"EXPORTER-dhole-pairing", b"", 32)
    ours, theirs = (proof(token.secret, role, exporter, identity.pin, token.pin) for role in (JOINER, MAKER))
    text = words(ours, name, address)
    made.control.send(link.Message(JOINS, U8, (len(text),), text))
    answer = made.control.recv()
    made.close()
    if answer.tag != TAKEN or not hmac.compare_digest(answer.data[:32], theirs):
        raise link.Refused("the maker of the token refused" if answer.tag == REFUSED else "it has no token")
    length = answer.data[32]
    return answer.data[33 : 33 + length].decode(), answer.data[34 + length :].decode()
