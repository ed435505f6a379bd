"""Judges a request of a machine on several networks: of its workers each knows one of these."""

import contextlib

from hosts import hosts, switch
from harness import Skip, check, wait_until
from machines import PORT, Machines

SECOND, THIRD = "10.216.0", "10.217.0"
FAILED, LOST = 1, 3
PATIENCE = 30 + 5  # seconds: what generate gives a session to begin


class Networks:
    def __init__(self, program, model):
        self.program, self.model = program, model

    @contextlib.contextmanager
    def apart(self, listen="0.0.0.0"):
        """near is on the first network with far, on a second one with other, and on a third alone."""
        if not self.model:
            raise Skip("no model, neither --model nor DHOLE_TEST_MODEL is set")
        with hosts("near", "far", "other") as (near, far, other), switch() as second, switch() as third:
            them = Machines(self.program, self.model, near, far, other)
            near.add_cable(second, "eth1", f"{SECOND}.1")
            near.add_cable(third, "eth2", f"{THIRD}.1")
            other.ip("addr", "flush", "dev", "eth0")
            other.ip("link", "set", "eth0", "down")
            other.add_cable(second, "eth1", f"{SECOND}.3")
            other.address = f"{SECOND}.3"
            them.trust_each_other(near, far, other)
            for host in far, other:
                them.start_worker("--listen", f"{listen or host.address}:{PORT}", "--hide", host=host)
            yield them

    def route(self, them):
        """far and other reach each other by way of near."""
        them.near.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward", check=True)
        them.far.ip("route", "add", f"{SECOND}.0/24", "via", them.near.address)
        them.other.ip("route", "add", "10.215.0.0/24", "via", f"{SECOND}.1")

    def no_way(self):
        """Each alone will do; both together are refused in words that name them."""
        with self.apart() as them:
            them.works(peers="far")
            them.works(peers="other")
            for peers in "far,other", "other,far":
                ended = them.dhole(them.near, *them.arguments("--peers", peers))
                them.judge(ended, LOST, ["far", "other", "reach", "network"], PATIENCE)
            them.works(peers="other")

    def route_between(self):
        """Also where workers listen at one address only; and nobody listens elsewhere meanwhile."""
        for listen in "0.0.0.0", None:
            with self.apart(listen) as them:
                self.route(them)
                process = them.request(peers="far,other")
                at = {address for address, _ in them.near.listening_at()}
                check(at == {them.near.address, f"{SECOND}.1"}, f"near listens at {at}")
                if listen is None:
                    for host in them.far, them.other:
                        at = {address for address, _ in host.listening_at()}
                        check(at == {host.address}, f"{host.name} listens at {at}")
                them.near.kill(process)
                check(wait_until(lambda: all(map(them.says_failed, (them.far, them.other))), 20), "no end")
                them.works(peers="far,other")
                them.works(peers="other,far")

    def network_between(self):
        """far and other share a network of which near knows nothing."""
        with self.apart() as them, switch() as fourth:
            for number, host in enumerate((them.far, them.other), 2):
                host.add_cable(fourth, "eth7", f"10.218.0.{number}")
            for parallel in "tp", "pp":
                them.answer("--parallel", parallel, peers="far,other")
            them.works(peers="other,far")
