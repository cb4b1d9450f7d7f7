"""Small messages per second through one actor.

All messages are offered at once; the network takes them as fast as it can. With state, every message increments a
counter, and each commit is in Redis before its output leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.harness import Figure, interleaved, main, scaled
from benchmarks.lines import plain_subprocess
from benchmarks.networks import chain
from benchmarks.peers import Executor, QueuePair

PEER = "plain subprocess, JSON lines over pipes"
AIM = 200_000


def measure(scale: float) -> list[Figure]:
    with ExitStack() as stack:
        networks = {
            "Python actor, no state": stack.enter_context(chain("PassPython")),
            "JavaScript actor, no state": stack.enter_context(chain("PassJavascript")),
            "Python actor, state in Redis": stack.enter_context(chain("CountPython")),
            "JavaScript actor, state in Redis": stack.enter_context(chain("CountJavascript")),
        }
        peers = {
            PEER: stack.enter_context(plain_subprocess()),
            "multiprocessing.Queue, there and back": stack.enter_context(QueuePair()),
            "ProcessPoolExecutor.map": stack.enter_context(Executor()),
        }
        subjects: dict[str, Callable[[], float]] = {}
        for name, network in networks.items():
            # A commit to Redis is the slower one by far.
            count = scaled(3000 if "Redis" in name else 10_000, scale, least=500)
            subjects[name] = lambda network=network, count=count: network.stream(count)
        for name, peer in peers.items():
            subjects[name] = lambda peer=peer: peer.stream(scaled(20_000, scale, least=2000))
        found = interleaved(subjects, scaled(3, scale, least=2))
    return [
        Figure(
            name,
            "/s",
            values,
            aim=AIM if name in networks else None,
            beside=PEER if name in networks else None,
            peer=name in peers,
        )
        for name, values in found.items()
    ]


if __name__ == "__main__":
    main(__doc__, measure)
