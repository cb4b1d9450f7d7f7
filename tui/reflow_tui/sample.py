"""A made-up workspace in the middle of its work, for pictures of the UI and for its tests."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reflow_supervisor.control.protocol import (
    ActorStatus,
    EdgeStatus,
    ErrorInfo,
    Failure,
    LogLevel,
    LogLine,
    RedisStatus,
    Snapshot,
    Totals,
    TreeNode,
)

STARTED = 1_790_000_000.0

_TRACEBACK = """\
Traceback (most recent call last):
  File "actors/seasonal.actor.py", line 27, in process
    trend = fit(window, degree=context.config["degree"])
  File "actors/seasonal.actor.py", line 12, in fit
    return [a / b for a, b in pairs(window)]
ZeroDivisionError: float division by zero
"""


_LOG: tuple[tuple[float, LogLevel, str, str], ...] = (
    (3402.0, "warning", "seasonal-1", "exited, restarting (1 of 5 within 30 s)"),
    (3402.1, "info", "seasonal-1", "ready, incarnation 3"),
    (3481.0, "error", "seasonal-1", "dead letter 2: ZeroDivisionError"),
    (3520.4, "debug", "pool", "2 warm python sandboxes, 1 javascript"),
    (3544.0, "error", "anomaly", "ran out of memory"),
)


def _actors() -> tuple[ActorStatus, ...]:
    megabyte = 1024 * 1024
    failed = ErrorInfo(
        type="ZeroDivisionError",
        message="float division by zero",
        at=STARTED + 3481,
        traceback=_TRACEBACK,
    )
    gone = ErrorInfo(type="OutOfMemory", message="the sandbox used more than 256 MiB", at=STARTED + 3544)

    def actor(
        name: str,
        runtime: str,
        received: int,
        emitted: int,
        cpu: float,
        megabytes: int,
        mailbox: int = 0,
        **more: object,
    ) -> ActorStatus:
        status = ActorStatus(
            id=name,
            component=name.split("-")[0],
            runtime=runtime,
            state="running",
            incarnation=1,
            mailbox=mailbox,
            mailbox_capacity=1000,
            in_flight=1 if runtime != "native" else 0,
            received=received,
            emitted=emitted,
            cpu_seconds=None if runtime == "native" else cpu,
            memory=None if runtime == "native" else megabytes * megabyte,
            pid=None if runtime == "native" else 48_100 + len(name),
        )
        return msgspec.structs.replace(status, **more)

    return (
        actor("stations", "native", 0, 1_204_511, 0, 0),
        actor("parse-csv", "python", 1_204_511, 1_204_360, 812.4, 41, 12),
        actor("clean", "python", 1_204_360, 1_198_211, 1120.7, 38, 31),
        actor("geocode", "javascript", 1_198_211, 1_198_180, 604.2, 71, 4),
        actor(
            "seasonal-1",
            "python",
            598_906,
            598_340,
            2011.9,
            118,
            871,
            restarts=2,
            restarts_in_window=1,
            incarnation=3,
            failed=6,
            dead_letters=2,
            last_error=failed,
        ),
        actor("seasonal-2", "python", 599_274, 599_270, 1990.3, 112, 640),
        actor(
            "anomaly",
            "python",
            1_190_302,
            5_120,
            233.0,
            0,
            302,
            state="backoff",
            next_retry_in=3.2,
            restarts=4,
            restarts_in_window=3,
            incarnation=5,
            last_error=gone,
            memory=None,
            pid=None,
            in_flight=0,
        ),
        actor("chart", "javascript", 5_120, 5_118, 64.8, 96, state="paused", in_flight=0),
        actor("report", "python", 5_118, 0, 12.1, 35),
    )


def _totals(actors: tuple[ActorStatus, ...]) -> Totals:
    return Totals(
        received=sum(actor.received for actor in actors),
        emitted=sum(actor.emitted for actor in actors),
        failed=sum(actor.failed for actor in actors),
        restarts=sum(actor.restarts for actor in actors),
        dead_letters=sum(actor.dead_letters for actor in actors),
    )


def _tree(actors: tuple[ActorStatus, ...]) -> TreeNode:
    def leaf(name: str, state: str = "running") -> TreeNode:
        return TreeNode(id=name, state=state)

    network = TreeNode(
        id="network weather",
        state="running",
        strategy="one_for_one",
        restarts_in_window=3,
        intensity=5,
        period=30,
        children=tuple(
            TreeNode(
                id=actor.id,
                state=actor.state,
                restarts_in_window=actor.restarts_in_window,
                next_retry_in=actor.next_retry_in,
            )
            for actor in actors
        ),
    )
    services = TreeNode(
        id="services",
        state="running",
        strategy="rest_for_one",
        intensity=3,
        period=60,
        children=(leaf("redis"), leaf("sandbox pool"), leaf("control"), leaf("watcher")),
    )
    return TreeNode(
        id="root", state="running", strategy="one_for_all", intensity=0, period=1, children=(services, network)
    )


def snapshot() -> Snapshot:
    actors = _actors()
    names = [actor.id for actor in actors]
    wires = [(0, 1), (1, 2), (2, 3), (3, 4), (3, 5), (4, 6), (5, 6), (6, 7), (7, 8)]
    return Snapshot(
        workspace="weather",
        boundary="namespaces",
        pid=48_021,
        started_at=STARTED,
        uptime=3_547.0,
        state="running",
        redis=RedisStatus(kind="embedded", available=True),
        totals=_totals(actors),
        actors=actors,
        edges=tuple(
            EdgeStatus(
                source=f"{names[a]}.out",
                target=f"{names[b]}.in",
                delivered=actors[b].received,
                queued=actors[b].mailbox,
                full=b == 6,
            )
            for a, b in wires
        ),
        failures=(
            Failure(
                at=STARTED + 3402,
                actor="seasonal-1",
                kind="exit",
                reason="the sandbox was killed by signal 9",
                detail="It was asked for with reflow-supervise kill.",
            ),
            Failure(
                at=STARTED + 3481,
                actor="seasonal-1",
                kind="activation",
                reason="ZeroDivisionError: float division by zero (attempt 3 of 3, dead letter)",
                detail=_TRACEBACK,
            ),
            Failure(
                at=STARTED + 3544,
                actor="anomaly",
                kind="exit",
                reason="ran out of memory: the sandbox used more than 256 MiB",
                detail="Next try in 3.2 s (restart 3 of 5 within 30 s).",
            ),
        ),
        log=tuple(
            LogLine(seq=seq, at=STARTED + at, level=level, source=source, message=message)
            for seq, (at, level, source, message) in enumerate(_LOG)
        ),
        tree=_tree(actors),
    )


def snapshots(step: float = 1.0) -> Iterator[Snapshot]:
    """One after the other, `step` seconds apart, with counters that grow."""
    current = snapshot()
    while True:
        yield current
        actors = tuple(_grown(actor, step) for actor in current.actors)
        current = msgspec.structs.replace(current, uptime=current.uptime + step, actors=actors, totals=_totals(actors))


def _grown(actor: ActorStatus, step: float) -> ActorStatus:
    """By about what it has done in each second so far."""
    if actor.state != "running":
        return actor
    share = step / 60
    return msgspec.structs.replace(
        actor,
        received=actor.received + round(actor.received * share / 20),
        emitted=actor.emitted + round(actor.emitted * share / 20),
        cpu_seconds=None if actor.cpu_seconds is None else actor.cpu_seconds + step * actor.cpu_seconds / 2300,
    )
