"""Everything that crosses an interface, as TCP streams (Linux, root)."""

import ctypes
import fcntl
import socket
import struct
import threading

from harness import Skip

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33
BUFFER = 256 << 20


def isolate():
    """Puts this process into a network of its own, with only a loopback, so that no other program's
    traffic is captured. Where that is not permitted, it is captured too, which does no harm."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def tcp_segment(frame):
    """((source port, destination port), sequence number, whether it opens the stream, payload)
    of a frame, or None."""
    (kind,) = struct.unpack_from(">H", frame, 12)
    if kind == ETH_P_IP:
        protocol, start = frame[23], 14 + 4 * (frame[14] & 15)
        end = 14 + struct.unpack_from(">H", frame, 16)[0]
    elif kind == ETH_P_IPV6:
        protocol, start = frame[20], 54
        end = start + struct.unpack_from(">H", frame, 18)[0]
    else:
        return None
    if protocol != socket.IPPROTO_TCP:
        return None
    source, target, sequence = struct.unpack_from(">HHI", frame, start)
    opens = bool(frame[start + 13] & 2)
    return (source, target), sequence, opens, frame[start + 4 * (frame[start + 12] >> 4) : end]


class Capture:
    """Captures from entering the block to leaving it."""

    def __init__(self, interface="lo"):
        self.interface = interface

    def __enter__(self):
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except (AttributeError, PermissionError) as error:
            raise Skip(f"cannot capture traffic: {error}")
        self.socket.bind((self.interface, 0))
        self.socket.settimeout(0.1)
        self.frames = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.receive)
        self.thread.start()
        return self

    def receive(self):
        """Until the queue is empty after the end."""
        while True:
            stopping = self.stopping.is_set()
            try:
                frame, address = self.socket.recvfrom(1 << 17)
            except TimeoutError:
                if stopping:
                    return
                continue
            # What leaves on the loopback comes in again.
            if self.interface != "lo" or address[2] != socket.PACKET_OUTGOING:
                self.frames.append(frame)

    def __exit__(self, *error):
        self.stopping.set()
        self.thread.join()
        counts = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self.dropped = struct.unpack("II", counts)[1]
        self.socket.close()

    def streams(self):
        """{(source port, destination port): bytes in order} of the connections that were opened
        while capturing."""
        first, streams = {}, {}
        for segment in filter(None, map(tcp_segment, self.frames)):
            ports, sequence, opens, payload = segment
            if opens:
                first[ports], streams[ports] = sequence + 1, bytearray()
            elif ports in first and payload:
                at = (sequence - first[ports]) % (1 << 32)
                stream = streams[ports]
                stream.extend(bytes(max(0, at + len(payload) - len(stream))))
                stream[at : at + len(payload)] = payload
        return streams


def windows(data, step=None):
    """Pieces of 16 bytes that are too particular to occur by chance: one every `step` bytes, or a
    few of a row of numbers."""
    step = step or max(4, len(data) // 5 & ~3)
    pieces = {bytes(data[i : i + 16]) for i in range(0, len(data) - 15, step)}
    return [piece for piece in pieces if len(set(piece)) > 4]


def found(patterns, streams):
    return any(piece in stream for piece in patterns for stream in streams.values())
