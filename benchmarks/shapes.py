"""The messages that encodings are compared on: those of the first examples, and what else networks carry."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping
from typing import Any

_numbers = random.Random(5)

LARGE = "1 MB of float64"
"""The one that is an array of numbers in memory, and not a list."""

SHAPES: Mapping[str, Any] = {
    "a number": 42,
    "a float (StreamAggregator, aggregated)": 21.75,
    "stats (StreamAggregator, stats)": {"count": 10, "average": 21.75},
    "10 integers (DataProcessor, processed)": [3 * n for n in range(10)],
    "100 floats": [_numbers.gauss(20, 5) for _ in range(100)],
    "a nested object": {
        "order": 18_203,
        "customer": {"id": 7, "name": "Ada Lovelace", "tags": ["early", "mathematics"]},
        "items": [
            {"sku": "TEA-01", "quantity": 2, "price": 3.5, "gift": False},
            {"sku": "CUP-09", "quantity": 1, "price": 12.25, "gift": True},
        ],
        "note": None,
    },
    LARGE: array("d", (_numbers.gauss(20, 5) for _ in range(131_072))),
}
