"""Dead letters from one terminal and another, over the ends of runs: the real commands, sandboxes and store."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from run.harness import COLLECT_ONE, FEED_ONE, ONE_NODE, Workspace

pytestmark = pytest.mark.slow

COUNTS = 'n = context.get_state().increment("n")\nreturn {"o": {"n": n, "v": v}}'
NO_SEVENS = 'if v == 7:\n    raise RuntimeError("no sevens")\n' + COUNTS


def letters(ws: Workspace, *args: str, code: int = 0) -> Any:
    """What `reflow-supervise dead-letters` answers, from its JSON."""
    line = [sys.executable, "-m", "reflow_supervisor", "dead-letters", *args, "--json"]
    done = subprocess.run(line, cwd=ws.path, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_a_letter_outlasts_its_run_and_is_replayed_by_the_next_one_once(ws: Workspace) -> None:
    assert letters(ws, "list") == {"total": 0, "letters": []}
    ws.actor(NO_SEVENS)
    ws.feed([6, 7, 8])
    assert ws.run().code == 1
    (seven,) = letters(ws, "list")["letters"]
    assert (seven["actor"], seven["attempts"], seven["preview"], seven["state"]) == ("a", 3, "v=7", "dead")
    done = letters(ws, "replay", seven["id"], "zz", code=2)
    assert done == {"done": [seven["id"]], "refused": {"zz": "there is no such dead letter"}}
    # Not mended yet: the same letter again, with more attempts.
    failed = ws.run(*COLLECT_ONE)
    assert failed.code == 1, failed.stderr
    letter = letters(ws, "show", seven["id"])
    assert (letter["attempts"], letter["burials"], letter["cause"]["file"]) == (6, 2, "actors/a.actor.py")
    assert letters(ws, "replay", "--all")["done"] == [seven["id"]]
    ws.actor(COUNTS)
    good = ws.run(*COLLECT_ONE)
    assert good.code == 0, good.stderr
    assert ws.rows() == [{"n": 3, "v": 7}]
    again = ws.run(*COLLECT_ONE)
    assert (again.code, ws.rows()) == (0, [])


def test_a_supervisor_that_is_killed_in_the_middle_of_a_replay_leaves_the_letter_to_the_next_run(ws: Workspace) -> None:
    ws.actor(NO_SEVENS)
    ws.feed([7])
    assert ws.run().code == 1
    (seven,) = letters(ws, "replay", "--all")["done"]
    ws.actor(
        f'context.get_state().increment("n")\nprint("at work", flush=True)\nawait asyncio.sleep(1000)\n{COUNTS}',
        top="import asyncio",
        options=", timeout=600",
    )
    run = [sys.executable, "-m", "reflow_supervisor", "run", "--headless"]
    with subprocess.Popen(run, cwd=ws.path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while "at work" not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
    (letter,) = letters(ws, "list")["letters"]
    assert (letter["id"], letter["state"], letter["attempts"]) == (seven, "marked", 3)
    ws.actor(COUNTS)
    assert ws.run(*COLLECT_ONE).code == 0
    assert ws.rows() == [{"n": 1, "v": 7}], "nothing of the replay that was killed counts"
    assert letters(ws, "list")["total"] == 0


def test_in_a_run_letters_are_listed_replayed_and_dropped_and_memory_alone_needs_no_store_before(ws: Workspace) -> None:
    ws.actor(
        'tries = context.config["tries"]\ntries[0] += 1\n'
        'if v == 7 and tries[0] < 7 or v == 9:\n    raise RuntimeError("no")\nreturn {"o": v}',
        options=', state_backend="memory"',
    )
    ws.write("reflow.yaml", ONE_NODE.replace("component: A", "component: A, config: {tries: [0]}"))
    run = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", "--keep-running"]
    process = subprocess.Popen(
        [*run, "--feed", "v=-", "--collect", "o=-"],
        cwd=ws.path,
        text=True,
        bufsize=1,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write("1\n")
        assert process.stdout.readline() == "1\n"
        assert not (ws.path / ".reflow" / "redis").exists()
        assert letters(ws, "list")["total"] == 0
        process.stdin.write("7\n9\n2\n")
        assert process.stdout.readline() == "2\n"
        while (found := letters(ws, "list"))["total"] < 2 or any(x["state"] != "dead" for x in found["letters"]):
            time.sleep(0.05)
        nine, seven = (letter["id"] for letter in found["letters"])
        assert letters(ws, "replay", seven)["done"] == [seven]
        assert process.stdout.readline() == "7\n"
        assert letters(ws, "drop", "--all", "--node", "b")["done"] == []
        assert letters(ws, "drop", "--all")["done"] == [nine]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert letters(ws, "list")["total"] == 0


def test_where_no_store_can_be_had_the_run_goes_on_says_so_and_the_log_has_the_letters_in_full(ws: Workspace) -> None:
    ws.actor('if v == 7:\n    raise RuntimeError("no")\nreturn {"o": v}', options=', state_backend="memory"')
    ws.feed([6, 7, 8])
    ws.write(".reflow/redis", "this is no directory")
    done = ws.run("--log-format", "json", *FEED_ONE, *COLLECT_ONE)
    assert (done.code, ws.rows()) == (1, [6, 8])
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert (records[-1]["fields"]["dead_letters"], records[-1]["fields"]["unkept"]) == (1, 1)
    said = [r["message"] for r in records if r["message"].startswith("dead letter")]
    assert any(".reflow/redis" in text and "neither kept nor read" in text for text in said)
    (whole,) = [text.partition(": ")[2] for text in said if "(1 of 1)" in text]
    assert json.loads(whole)["inputs"]["v"]["shown"] == "7"
    text = ws.run()
    assert "1 dead letters (1 could not be kept: the log has them in full)" in text.stderr


def test_more_than_the_bound_is_not_kept_and_said(ws: Workspace) -> None:
    ws.actor('raise RuntimeError("no")')
    ws.write("reflow.yaml", ONE_NODE + "limits: {dead_letters: 2, max_attempts: 1}\n")
    ws.feed(range(4))
    done = ws.run()
    assert done.code == 1
    assert "4 dead letters (2 could not be kept: the log has them in full)" in done.stderr
    assert done.stderr.count("there is no room for more (limits.dead_letters, limits.dead_letters_size)") == 2
    assert [letter["preview"] for letter in letters(ws, "list")["letters"]] == ["v=1", "v=0"]
