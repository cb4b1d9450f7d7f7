"""Plays generated plans on the real supervisor and compares them with the reference model, for as long as told.

    make soak                                       # ten minutes
    .venv/bin/python scripts/soak.py --minutes 60 --seed 7
    .venv/bin/python scripts/soak.py --replay '<the JSON that a failure printed>'

Each plan is another; the seed of the first is printed, and the same seed gives the same plans. Ends at the first plan
that does not lead to what the model says, made as small as it gets, with the line that replays it. Exit code 1 then.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from supervision.model.check import REACHED, difference, fails, shrink
from supervision.model.plans import LENGTH, decode, load


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--replay", metavar="JSON", help="play this one plan")
    options = parser.parse_args()
    if options.replay is not None:
        try:
            plan = load(options.replay)
        except Exception as error:
            parser.error(f"--replay: this is no plan: {error!r}")
        found = difference(plan, Counter())
        print(found or "as the model says")
        return 1 if found else 0
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    return soak(seed, options.minutes * 60)


def soak(seed: int, seconds: float) -> int:
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    began = shown = time.monotonic()
    cases = 0
    while time.monotonic() - began < seconds:
        data = draw(rng)
        cases += 1
        if difference(decode(data), seen) is not None:
            print(f"case {cases} fails; making it smaller", flush=True)
            print(difference(decode(shrink(data, fails)), Counter()) or difference(decode(data), Counter()))
            return 1
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{cases} cases in {shown - began:.0f} s", flush=True)
    undecided = sum(number for what, number in seen.items() if what.startswith("undecided"))
    print(f"{cases} cases as the model says; in {undecided} of them it leaves something open")
    for what, number in sorted(seen.items()):
        print(f"{number:10}  {what}")
    never = [what for what in REACHED if not seen[what]]
    if never and cases > 20_000:
        print(f"never seen: {', '.join(never)}")
        return 1
    return 0


def draw(rng: random.Random) -> bytes:
    """Half of them as plain in places as what Hypothesis likes to draw: zeros, and few different bytes."""
    data = bytearray(rng.randbytes(LENGTH))
    if rng.random() < 0.5:
        few = bytes(rng.choices(range(12), k=3))
        for _ in range(rng.randrange(1, 6)):
            start = rng.randrange(LENGTH)
            size = rng.randrange(1, LENGTH // 2)
            piece = data[start : start + size]
            data[start : start + size] = bytes(rng.choice((0, rng.choice(few))) for _ in piece)
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
