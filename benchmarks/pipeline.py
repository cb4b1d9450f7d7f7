"""Small messages per second through three actors in a row, each in its own sandbox.

The peer is three plain scripts joined by the shell: no isolation, no redelivery, no commits.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.harness import Figure, interleaved, main, scaled
from benchmarks.lines import plain_chain
from benchmarks.networks import chain

PEER = "three plain scripts, JSON lines through the shell's pipes"


def measure(scale: float) -> list[Figure]:
    count = scaled(5000, scale, least=500)
    with ExitStack() as stack:
        networks = {
            "Python → Python → Python": stack.enter_context(chain("PassPython", "PassPython", "PassPython")),
            "Python → JavaScript → Python": stack.enter_context(chain("PassPython", "PassJavascript", "PassPython")),
        }
        peer = stack.enter_context(plain_chain(3))
        subjects = {name: lambda network=network: network.stream(count) for name, network in networks.items()}
        found = interleaved({**subjects, PEER: lambda: peer.stream(count * 4)}, scaled(3, scale, least=2))
    return [
        Figure(
            name,
            "/s",
            values,
            aim=60_000 if name != PEER else None,
            beside=PEER if name != PEER else None,
            peer=name == PEER,
        )
        for name, values in found.items()
    ]


if __name__ == "__main__":
    main(__doc__, measure)
