#!/usr/bin/env python3
"""The test vectors of docs/protocol-vectors.md: computes them, reads them, and, as a program, prints
them as that page shows them."""

import pathlib
import re
import struct

import link
import pairing
from link import MESSAGES, Hello, Message, Records

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/protocol-vectors.md"
WIDTH, INDENT = 96, 24
TEXTS = ("token",)  # the others are shown in hexadecimal

MASTER = bytes(range(48))
TOKEN = bytes(range(0x10, 0x20))
CLIENT = Hello(rank=1, size=2, lanes=2, session=b"demo", agreement=b"model 7", message_max=1 << 20)
SERVER = Hello(rank=0, size=2, session=b"demo", agreement=b"model 7", message_max=1 << 28, token=TOKEN)
MESSAGE = Message(0x01020304, 10, (2, 3), struct.pack("<6f", 1, 2, 3, 4, 5, 6))
JOINER_PIN, MAKER_PIN, EXPORTER = bytes([0x11]) * 32, bytes([0x22]) * 32, bytes([0x33]) * 32
PAIRING_SECRET = bytes(range(16))
TOKEN_MADE = pairing.Token(MAKER_PIN, PAIRING_SECRET, 1800000000, ["192.0.2.1:7777", "[2001:db8::1]:7777"])


def seal_at(secret, number, text):
    """As record `number` of the direction that begins with `secret`."""
    records = Records(secret)
    records.number = number
    return records.seal(text)


def compute():
    secret = link.lane_secret(MASTER, 0, 0)
    next_secret, key = link.next_keys(secret)
    message = link.message_header(MESSAGES, 0, MESSAGE) + MESSAGE.data
    return {
        "preamble-control": link.preamble(0),
        "preamble-messages": link.preamble(1, TOKEN),
        "preamble-bulk-1": link.preamble(3, TOKEN),
        "hello-client": CLIENT.encode(),
        "hello-server": SERVER.encode(),
        "exporter-master": MASTER,
        "lane-0-client": secret,
        "lane-0-server": link.lane_secret(MASTER, 0, 1),
        "lane-1-client": link.lane_secret(MASTER, 1, 0),
        "key": key,
        "next-secret": next_secret,
        "next-key": link.next_keys(next_secret)[1],
        "record-0": seal_at(secret, 0, link.LANE_HELLO),
        "message": message,
        "record-1": seal_at(secret, 1, message),
        "record-262143": seal_at(secret, 262143, b"last"),
        "record-262144": seal_at(secret, 262144, b"first"),
        "refusal": link.refusal(link.BULK, 300 << 20, 256 << 20),
        "pairing-joiner": pairing.proof(PAIRING_SECRET, pairing.JOINER, EXPORTER, JOINER_PIN, MAKER_PIN),
        "pairing-maker": pairing.proof(PAIRING_SECRET, pairing.MAKER, EXPORTER, JOINER_PIN, MAKER_PIN),
        "token": TOKEN_MADE.encode().encode(),
    }


def read(page=PAGE):
    """Name -> bytes: "NAME VALUE" in the fenced blocks, where lines that are indented go on."""
    blocks = re.findall(r"^```text\n(.*?)^```", page.read_text(), re.M | re.S)
    joined = re.sub(r"\n +", "", "".join(blocks))
    return {name: value.encode() if name in TEXTS else bytes.fromhex(value)
            for name, value in re.findall(r"^(\S+) +(\S+)$", joined, re.M)}


def show(values):
    step = WIDTH - INDENT
    for name, value in values.items():
        text = value.decode() if name in TEXTS else value.hex()
        lines = [text[at : at + step] for at in range(0, len(text), step)]
        print(name.ljust(INDENT - 1), f"\n{' ' * INDENT}".join(lines))


if __name__ == "__main__":
    show(compute())
