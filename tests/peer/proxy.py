"""What stands between a link's client and its server: it takes their connections apart into frames,
lets a test change, add or leave out frames, and passes on the rest."""

import collections
import selectors
import socket
import struct

TO_SERVER, TO_CLIENT = 0, 1
DIRECTIONS = ("to the server", "to the client")
PATIENCE = 60
PREAMBLE, TLS_HEADER, RECORD_HEADER, RECORD_TAG = 32, 5, 8, 16
# Which frame: the kind of its connection (0 CONTROL, 1 MESSAGES, 2 and more BULK), its direction, its
# number in these.
Place = collections.namedtuple("Place", "kind direction index")


def frame_size(kind, direction, index, data):
    """Of the frame that `data` begins with; None while that is unknown."""
    if direction == TO_SERVER and index == 0:
        return PREAMBLE
    if kind == 0:
        return TLS_HEADER + struct.unpack(">H", data[3:5])[0] if len(data) >= TLS_HEADER else None
    if len(data) < RECORD_HEADER:
        return None
    return RECORD_HEADER + struct.unpack("<I", data[:4])[0] + RECORD_TAG


class Connection:
    """One of the client's, and the one to the server that belongs to it."""

    def __init__(self, near, server):
        self.ends = (near, socket.create_connection(server))  # TO_SERVER reads from the first
        for end in self.ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = [bytearray(), bytearray()]
        self.index = [0, 0]
        self.kind = None
        self.open = [True, True]

    def frames(self, direction, data):
        """What is whole by now, with its place."""
        pending = self.pending[direction]
        pending += data
        while True:
            size = frame_size(self.kind, direction, self.index[direction], pending)
            if size is None or len(pending) < size:
                return
            frame = bytes(pending[:size])
            del pending[:size]
            if self.kind is None:
                self.kind = struct.unpack("<H", frame[8:10])[0]
            yield Place(self.kind, direction, self.index[direction]), frame
            self.index[direction] += 1


class Session:
    """What passed: `frames` by place, in the order in which they came."""

    def __init__(self, answer, frames, stuck):
        self.answer, self.frames, self.stuck = answer, frames, stuck


class Proxy:
    """In front of one server; `answers` is where the line comes from that ends a session."""

    def __init__(self, server, answers):
        host, port = server.rsplit(":", 1)
        self.server = host, int(port)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.answers = answers
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.selector.register(answers, selectors.EVENT_READ, None)

    def carry(self, tamper=None, idle=10):
        """One session. `tamper`, given a place, a frame and this, returns what goes on instead of the
        frame; it may also `inject`, and `hang_up` on the frame's connection after it. When nothing has
        moved for `idle` seconds both sides are taken to wait for each other, and are cut off."""
        self.connections, self.hung_up = [], set()
        frames, answer, stuck = {}, None, False
        while answer is None:
            events = self.selector.select(PATIENCE if stuck else idle)
            if not events and stuck:
                raise AssertionError("the session does not end")
            if not events:
                stuck = True
                self.drop_all()
            for key, _ in events:
                if key.fileobj is self.listener:
                    self.take()
                elif key.fileobj is self.answers:
                    answer = self.answers.readline().decode()
                elif key.data[0].open[key.data[1]]:
                    self.move(*key.data, frames, tamper)
        self.drop_all()
        return Session(answer, frames, stuck)

    def take(self):
        connection = Connection(self.listener.accept()[0], self.server)
        self.connections.append(connection)
        for direction in (TO_SERVER, TO_CLIENT):
            self.selector.register(connection.ends[direction], selectors.EVENT_READ, (connection, direction))

    def move(self, connection, direction, frames, tamper):
        try:
            data = connection.ends[direction].recv(1 << 18)
        except OSError:
            self.drop(connection)
            return
        if not data:
            self.end(connection, direction)
        for place, frame in connection.frames(direction, data):
            frames[place] = frame
            self.send(connection, direction, frame if tamper is None else tamper(place, frame, self))
            if place in self.hung_up:
                self.drop(connection)

    def send(self, connection, direction, data):
        try:
            if data and any(connection.open):
                connection.ends[1 - direction].sendall(data)
        except OSError:
            self.drop(connection)

    def inject(self, kind, direction, data):
        """Into a connection that is there."""
        for connection in self.connections:
            if connection.kind == kind:
                self.send(connection, direction, data)

    def hang_up(self, place):
        self.hung_up.add(place)

    def end(self, connection, direction):
        """Passes on that one side has said all, so that nothing it said before is lost."""
        connection.open[direction] = False
        self.selector.unregister(connection.ends[direction])
        try:
            connection.ends[1 - direction].shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def drop(self, connection):
        for direction in (TO_SERVER, TO_CLIENT):
            if connection.open[direction]:
                self.selector.unregister(connection.ends[direction])
            connection.open[direction] = False
        for end in connection.ends:
            end.close()

    def drop_all(self):
        for connection in self.connections:
            self.drop(connection)
