from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import trio
from conformance.otp.bench import Bench


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncGenerator[Bench]:
    bench = Bench(nursery)
    yield bench
    await bench.close()
