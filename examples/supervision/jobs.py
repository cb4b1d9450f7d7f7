"""Jobs that come and go, below a supervisor: one fails and is retried, one hangs and is noticed, all are shown.

Run it with `python examples/supervision/jobs.py`. It uses `reflow_supervisor.supervision` and nothing else.
"""

from functools import partial
from typing import Any

import trio

from reflow_supervisor import supervision as sv


async def job(name: str, steps: int, ends: str, *, task_status: trio.TaskStatus[Any]) -> None:
    task_status.started()
    for _ in range(steps):
        await trio.sleep(0.2)
        sv.progress()
    if ends == "fails":
        raise ConnectionError(f"{name} lost its server")
    if ends == "hangs":
        await trio.sleep_forever()


def tell(event: sv.Event) -> None:
    if isinstance(event, sv.ChildExited):
        print(f"{event.supervisor}: {event.child_id} {event.reason} after {event.uptime:.1f} s")


async def main() -> None:
    template = sv.ChildTemplate("job", job, restart=sv.Restart.TRANSIENT, liveness=0.5)
    flags = sv.SupervisorFlags(intensity=5, period=30, backoff=sv.Backoff(initial=1))
    jobs = partial(sv.run_dynamic_supervisor, template, flags, max_children=10, name="jobs", on_event=tell)
    children = [sv.ChildSpec("jobs", jobs, type=sv.ChildType.SUPERVISOR)]
    async with sv.open_supervisor(children, name="top") as top:
        running: Any = top.child("jobs").value
        for name, steps, ends in [("a", 2, "returns"), ("b", 3, "fails"), ("c", 5, "hangs"), ("d", 50, "returns")]:
            await running.start_child(name, steps, ends)
        await trio.sleep(2)
        print(top.tree())


if __name__ == "__main__":
    trio.run(main)
