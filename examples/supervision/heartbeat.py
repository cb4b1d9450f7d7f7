"""A heartbeat that keeps losing its connection, supervised: restarted after a growing wait, and given up in the end.

Run it with `python examples/supervision/heartbeat.py`. It uses `reflow_supervisor.supervision` and nothing else.
"""

import random
from functools import partial

import trio

from reflow_supervisor.supervision import Backoff, ChildSpec, SupervisorFailedError, SupervisorFlags, open_supervisor


async def clock(*, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    while True:
        await trio.sleep(1)
        print(f"        {trio.current_time() % 1000:8.2f}  tick")


async def heartbeat(address: str, rng: random.Random, *, task_status: trio.TaskStatus[str]) -> None:
    await trio.sleep(0.1)  # Connecting; the supervisor waits until we say that we are ready.
    task_status.started(address)
    while rng.random() < 0.7:
        print(f"        {trio.current_time() % 1000:8.2f}  beat")
        await trio.sleep(0.5)
    raise ConnectionError(f"{address} does not answer")


async def main() -> None:
    children = [ChildSpec("clock", clock), ChildSpec("heartbeat", partial(heartbeat, "server:7", random.Random(1)))]
    flags = SupervisorFlags(intensity=3, period=30, backoff=Backoff(initial=0.5, max=5))
    try:
        async with open_supervisor(children, flags, on_event=lambda event: print(event)) as supervisor:
            print(f"{supervisor.count_children().active} children are running")
            await trio.sleep_forever()
    except SupervisorFailedError as error:
        print(f"The supervisor {error}")


if __name__ == "__main__":
    trio.run(main)
