#!/usr/bin/env python3
"""Judges several machines, which are network namespaces of this one: what they find out about each other.

    netns.py --dhole PROGRAM [--model FILE] [--only TEXT]
"""

import concurrent.futures
import os
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cli"))

from harness import Suite, arguments
import hosts
from discovery import Discovery
from first_light import FirstLight
from networks import Networks
from scenarios import Scenarios


def discovery_cases(folder):
    avahi = Discovery(os.path.join(folder, "discover"))
    dns_sd = Discovery(os.path.join(folder, "discover-dnssd"))
    return {
        "discovery: both ways": avahi.both_ways,
        "discovery: link-local": avahi.link_local,
        "discovery: daemon killed": avahi.daemon_killed,
        "discovery: missing": avahi.missing,
        "discovery: daemon late": avahi.late,
        "discovery: daemon hung": avahi.hung,
        "discovery: lies": avahi.lies,
        "discovery: flood": avahi.flood,
        "discovery by dns_sd: both ways": dns_sd.both_ways,
        "discovery by dns_sd: lies": dns_sd.lies,
    }


RUBBISH = b"GET / HTTP/1.0\r\n\r\n" * 20


def scenario_cases(of):
    return {
        "cable: pulled before": of.cable_pulled_before,
        "cable: pulled meanwhile": of.cable_pulled_meanwhile,
        "cable: one of three": of.one_of_three,
        "cable: put back": of.cable_put_back,
        "address: changed": of.address_changed,
        "address: link-local": of.link_local,
        "peer: worker killed": of.worker_killed,
        "peer: worker stopped": of.worker_stopped,
        "peer: coordinator killed": of.coordinator_killed,
        "peer: another key": of.another_key,
        "peer: stranger": of.stranger,
        "loss: to the worker": lambda: of.one_way_loss("INPUT"),
        "loss: from the worker": lambda: of.one_way_loss("OUTPUT"),
        "clock: years ahead": lambda: of.clock_wrong("+9y"),
        "clock: years behind": lambda: of.clock_wrong("-9y"),
        "clock: token, guest ahead": lambda: of.token_and_guest("+1h"),
        "clock: token, guest behind": lambda: of.token_and_guest("-1h"),
        "clock: token too old": of.token_too_old,
        "crowd: silent, at a worker": lambda: of.crowd_at_worker(b""),
        "crowd: rubbish, at a worker": lambda: of.crowd_at_worker(RUBBISH),
        "crowd: silent, at a coordinator": lambda: of.crowd_at_coordinator(b""),
        "crowd: rubbish, at a coordinator": lambda: of.crowd_at_coordinator(RUBBISH),
        "crowd: silent, at dhole pair": lambda: of.crowd_at_pairing(b""),
        "crowd: rubbish, at dhole pair": lambda: of.crowd_at_pairing(RUBBISH),
    }


def first_light_cases(of):
    return {
        "first light: tp": lambda: of.run("tp", silent=False),
        "first light: pp": lambda: of.run("pp", silent=True),
    }


def network_cases(of):
    return {
        "networks: no way between": of.no_way,
        "networks: a route between": of.route_between,
        "networks: a network between": of.network_between,
    }


def side_by_side(suite, cases, workers=4):
    """They wait most of the time."""
    def timed(case):
        start = time.monotonic()
        remark = case()
        return f"{time.monotonic() - start:.1f} s by itself{', ' + remark if remark else ''}"

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        running = {name: pool.submit(timed, case) for name, case in cases.items() if suite.only in name}
        for name, case in running.items():
            suite.case(name, case.result)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", default=os.environ.get("DHOLE_TEST_MODEL"))
    args = parser.parse_args()
    missing = hosts.enter()
    if missing:
        print(f"skipped: {missing}\n0 passed, 0 failed, 1 skipped")
        return 0
    hosts.prepare()
    suite = Suite(args.only)
    folder = os.path.dirname(os.path.abspath(args.dhole))
    what = os.path.abspath(args.dhole), args.model and os.path.abspath(args.model)
    side_by_side(suite, {**first_light_cases(FirstLight(*what)), **discovery_cases(folder),
                         **scenario_cases(Scenarios(*what)), **network_cases(Networks(*what))})
    return suite.finish()


sys.exit(main())
