"""`run --headless`, the real command: real sandboxes, a real state store, files in and files out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from run.harness import COLLECT_ONE, FEED_ONE, ONE_NODE, PRELOAD, SEED, Workspace, agents, descendants, name_of

pytestmark = pytest.mark.slow


def test_the_python_example_runs_and_its_state_goes_on_in_the_next_run(ws: Workspace) -> None:
    for name in ("process.actor.py", "transforms.py"):
        ws.write(f"actors/{name}", (SEED / name).read_text())
    ws.write(
        "reflow.yaml",
        "network:\n  processes: {p: {component: DataProcessor}}\n  initial: {p.config: {scale: 3}}\n"
        "  inports: {data: p.data}\n  outports: {processed: p.processed, metrics: p.metrics}\n",
    )
    ws.feed([i, i + 1] for i in range(100))
    for start in (1, 101):
        done = ws.run("--feed", "data=in.jsonl", "--collect", "processed=p.jsonl", "--collect", "metrics=m.jsonl")
        assert done.code == 0, done.stderr
        assert ws.rows("p.jsonl") == [[3 * i, 3 * i + 3] for i in range(100)]
        assert [row["count"] for row in ws.rows("m.jsonl")] == list(range(start, start + 100))


def test_the_javascript_example_runs(ws: Workspace) -> None:
    ws.write("actors/aggregate.actor.js", (SEED / "aggregate.actor.js").read_text())
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: StreamAggregator}}\n  inports: {v: a.stream}\n"
        "  outports: {o: a.aggregated, stats: a.stats}\n",
    )
    ws.feed(range(1, 101))
    done = ws.run(*FEED_ONE, *COLLECT_ONE, "--collect", "stats=s.jsonl")
    assert done.code == 0, done.stderr
    assert ws.rows() == [sum(range(max(1, i - 9), i + 1)) / min(i, 10) for i in range(1, 101)]
    assert ws.rows("s.jsonl")[-1] == {"count": 10, "average": 95.5}


def test_typed_arrays_go_from_python_to_javascript_and_back_and_are_checked_by_their_elements(ws: Workspace) -> None:
    ws.write(
        "actors/make.actor.py",
        "from array import array\nfrom reflow import actor, Message\n\n"
        '@actor(name="Make", inports=["v"], outports=[{"name": "o", "type": "array(float)"}, {"name": "n", "type": '
        '"array(integer)"}])\ndef make(context):\n    n = context.payload["v"].unwrap()\n'
        '    return {"o": array("d", [0.5]) * n, "n": array("f", [1]) if n == 2000 else array("h", [n])}\n',
    )
    ws.write(
        "actors/double.actor.js",
        "const { actor, Message } = require('reflow');\n"
        "@actor({ name: 'Double', inports: ['v'], outports: ['o'] })\nfunction double(context) {\n"
        "  const numbers = context.payload.get('v').unwrap();\n"
        "  const { constructor, shape } = numbers;\n"
        "  return { o: { numbers: numbers.map((x) => x * 2), kind: constructor.name, shape } };\n}\n",
    )
    ws.write(
        "actors/sum.actor.py",
        "from reflow import actor, Message\n\n@actor(name='Sum', inports=['v'], outports=['o'])\ndef total(context):\n"
        "    value = context.payload['v'].unwrap()\n    numbers = value['numbers']\n"
        "    return {'o': [value['kind'], value['shape'], sum(numbers), type(numbers).__name__, numbers[:2]]}\n",
    )
    ws.write(
        "reflow.yaml",
        PRELOAD + "limits: {max_attempts: 1}\nnetwork:\n"
        "  processes: {m: {component: Make}, d: {component: Double}, s: {component: Sum}}\n"
        "  connections: [{from: m.o, to: d.v}, {from: d.o, to: s.v}]\n"
        "  inports: {v: m.v}\n  outports: {o: s.o, n: m.n}\n",
    )
    ws.feed([3, 1000, 2000])
    done = ws.run(*FEED_ONE, *COLLECT_ONE, "--collect", "n=n.jsonl")
    assert ws.rows() == [["Float64Array", [n], n, "memoryview", [1, 1]] for n in (3, 1000)]
    assert ws.rows("n.jsonl") == [[3], [1000]]
    assert "port 'n' is declared array(integer), and got a typed array of floats" in done.stderr
    assert done.code == 1


def test_a_row_that_always_fails_becomes_a_dead_letter_and_the_others_pass(ws: Workspace) -> None:
    ws.actor('if v == 7:\n    raise RuntimeError("no sevens")\nreturn {"o": Message.integer(v)}')
    ws.feed(range(20))
    done = ws.run()
    assert done.code == 1
    assert ws.rows() == [i for i in range(20) if i != 7]
    assert done.stderr.count("RuntimeError: no sevens") == 3
    assert 'actors/a.actor.py", line 7' in done.stderr
    assert "dead letter after 3 attempts: no sevens" in done.stderr
    assert "0 restarts, 1 dead letters" in done.stderr
    assert "reflow_supervisor/" not in done.stderr


def test_the_log_as_json_is_json_to_its_last_line(ws: Workspace) -> None:
    ws.actor('print("a\\x1b[31m\\nb")\nif v == 1:\n    raise RuntimeError("no")\nreturn {"o": v}')
    ws.feed([0, 1])
    done = ws.run("--log-format", "json", *FEED_ONE, *COLLECT_ONE)
    assert done.code == 1
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"level": "info", "message": "a\\x1b[31m", "actor": "a"}.items() <= records[0].items()
    assert [r["fields"]["event"] for r in records if r["message"].startswith("dead letter")] == ["dead-letter"]
    assert records[-1]["fields"] == {
        "code": 1,
        "fed": 2,
        "collected": {"o": 1},
        "restarts": 0,
        "dead_letters": 1,
        "unkept": 0,
    }


def test_a_script_with_a_syntax_error_keeps_the_network_from_starting(ws: Workspace) -> None:
    ws.actor("return {'o': (}")
    ws.feed([1])
    done = ws.run()
    assert done.code == 2
    assert "actors/a.actor.py:6:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ('{"o": {1, 2}}', "set"),
        ('{"o": 2**70}', "int"),
        ("{1, 2}", "set"),
    ],
)
def test_what_is_no_message_is_the_failure_of_its_row_alone(ws: Workspace, result: str, why: str) -> None:
    ws.actor(f'return {result} if v == 1 else {{"o": v}}')
    ws.feed([0, 1, 2])
    done = ws.run()
    assert done.code == 1, done.stderr
    assert ws.rows() == [0, 2]
    assert why in done.stderr
    assert "1 dead letters" in done.stderr


def test_nan_passes_and_the_rows_around_it(ws: Workspace) -> None:
    ws.actor('return {"o": float("nan") if v == 1 else v}')
    ws.feed([0, 1, 2])
    done = ws.run()
    assert done.code == 0, done.stderr
    assert [str(row) for row in ws.rows()] == ["0", "nan", "2"]


@pytest.mark.parametrize("how", ["await asyncio.sleep(1000)", "while True: pass"])
def test_a_row_that_never_ends_is_interrupted_and_becomes_a_dead_letter(ws: Workspace, how: str) -> None:
    ws.actor(f'if v == 1:\n    {how}\nreturn {{"o": v}}', options=", timeout=1", top="import asyncio")
    ws.feed([0, 1, 2])
    done = ws.run()
    assert done.code == 1, done.stderr
    assert ws.rows() == [0, 2]
    assert "1 dead letters" in done.stderr


def test_a_flood_without_line_ends(ws: Workspace) -> None:
    ws.actor('print("x" * 20_000_000, end="")\nreturn {"o": v}')
    ws.feed([1])
    done = ws.run()
    assert done.code == 0, done.stderr[-1000:]
    assert ws.rows() == [1]
    assert len(done.stderr) < 100_000


def test_a_line_that_is_not_json_stops_the_run_or_is_skipped(ws: Workspace) -> None:
    ws.actor('return {"o": v}')
    ws.write("in.jsonl", "1\n\n{oops\n3\n")
    done = ws.run()
    assert done.code == 2, done.stderr
    assert "in.jsonl:3" in done.stderr
    assert "Traceback" not in done.stderr
    done = ws.run("--on-bad-input", "skip", *FEED_ONE, *COLLECT_ONE)
    assert done.code == 0, done.stderr
    assert "in.jsonl:3" in done.stderr
    assert ws.rows() == [1, 3]


@pytest.mark.parametrize(
    "args", [("--feed", "x=in.jsonl"), ("--collect", "x=out.jsonl"), ("--feed", "v"), ("--feed", "v=absent.jsonl")]
)
def test_ports_and_files_that_do_not_exist_are_usage_errors(ws: Workspace, args: tuple[str, ...]) -> None:
    ws.actor('return {"o": v}')
    ws.feed([1])
    done = ws.run(*args)
    assert done.code == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.seen or "Traceback" not in done.stderr


def test_a_killed_run_leaves_no_process(ws: Workspace) -> None:
    ws.actor('await asyncio.sleep(60)\nreturn {"o": v}', top="import asyncio")
    ws.feed([1])

    def kill(process: subprocess.Popen[bytes]) -> None:
        if agents(process.pid):
            time.sleep(0.3)
            process.kill()

    assert ws.run(meanwhile=kill).code == -signal.SIGKILL


JAVASCRIPT_TIMES_TEN = """const { actor, Message } = require('reflow');
@actor({ name: "J", inports: ["v"], outports: ["o"] })
async function j(context) {
  return { o: Message.integer(context.getPayload().get("v").unwrap() * 10) };
}
"""


def test_a_script_that_raises_at_import_is_given_up(ws: Workspace) -> None:
    ws.actor("return {}", top='raise OSError("no luck")')
    config = "supervision: {intensity: 1, backoff: {initial: 0, jitter: 0}}\n"
    ws.write("reflow.yaml", ONE_NODE + config)
    ws.feed([1])
    done = ws.run()
    assert done.code == 1
    assert 'actors/a.actor.py", line 2' in done.stderr
    assert "OSError: no luck" in done.stderr
    assert "gave up" in done.stderr


def test_a_flood_of_output_is_cut_and_holds_nothing_up(ws: Workspace) -> None:
    ws.actor('for _ in range(20_000):\n    print("x" * 1000)\nreturn {"o": v}')
    ws.feed([1])
    done = ws.run()
    assert done.code == 0, done.stderr[-1000:]
    assert ws.rows() == [1]
    assert len(done.stderr) < 5_000_000
    assert "dropped" in done.stderr


def test_a_python_node_feeds_two_javascript_nodes_and_all_keep_order(ws: Workspace) -> None:
    ws.actor('return {"o": Message.integer(v + 1)}')
    ws.write("actors/j.actor.js", JAVASCRIPT_TIMES_TEN)
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: A}, j: {component: J}, k: {component: J}}\n"
        "  connections: [a.o -> j.v, a.o -> k.v]\n"
        "  inports: {v: a.v}\n  outports: {o: j.o, second: k.o, direct: a.o}\n",
    )
    ws.feed(range(1500))  # more than a mailbox holds
    done = ws.run(*FEED_ONE, *COLLECT_ONE, "--collect", "second=2.jsonl", "--collect", "direct=d.jsonl")
    assert done.code == 0, done.stderr
    assert ws.rows("d.jsonl") == list(range(1, 1501))
    assert ws.rows() == ws.rows("2.jsonl") == list(range(10, 15010, 10))


def test_a_counter_whose_sandbox_is_killed_three_times_counts_each_row_once(ws: Workspace) -> None:
    ws.actor(
        'n = context.get_state().increment("n")\n'
        "time.sleep(0.001)\n"
        'return {"o": Message.object({"n": n, "v": v, "pad": "x" * 100})}',
        top="import time",
    )
    ws.feed(range(1, 2001))
    kills: list[int] = []

    def kill(process: subprocess.Popen[bytes]) -> None:
        out = ws.path / "out.jsonl"
        if len(kills) < 3 and out.exists() and out.stat().st_size > 40_000 * (1 + len(kills)):
            fresh = [pid for pid in agents(process.pid) if pid not in kills]
            if fresh:
                os.kill(fresh[0], signal.SIGKILL)
                kills.append(fresh[0])

    done = ws.run(meanwhile=kill)
    assert len(kills) == 3
    assert done.code == 0, done.stderr
    assert "3 restarts, 0 dead letters" in done.stderr
    assert [(row["v"], row["n"]) for row in ws.rows()] == [(i, i) for i in range(1, 2001)]
    ws.feed([0])
    ws.run()
    assert ws.rows()[0]["n"] == 2001


def test_the_end_of_the_zygote_is_a_restart_of_all_its_actors_and_no_more(ws: Workspace) -> None:
    ws.actor(
        'n = context.get_state().increment("n")\ntime.sleep(0.001)\nreturn {"o": Message.object({"n": n, "v": v})}',
        top="import time",
    )
    config = "supervision: {backoff: {initial: 0, jitter: 0}}\n"
    ws.write(
        "reflow.yaml",
        PRELOAD + config + "network:\n  processes: {a: {component: A}, b: {component: A}}\n"
        "  inports: {v: a.v, w: b.v}\n  outports: {o: a.o, p: b.o}\n",
    )
    ws.feed(range(1, 1001))
    killed: list[int] = []

    def kill(process: subprocess.Popen[bytes]) -> None:
        out = ws.path / "out.jsonl"
        if not killed and out.exists() and out.stat().st_size > 2000:
            killed.extend(pid for pid in descendants(process.pid) if name_of(pid) == "reflow-zygote")
            os.kill(killed[0], signal.SIGKILL)

    both = ("--feed", "v=in.jsonl", "--feed", "w=in.jsonl", "--collect", "o=out.jsonl", "--collect", "p=2.jsonl")
    done = ws.run(*both, meanwhile=kill)
    assert len(killed) == 1
    assert done.code == 0, done.stderr
    assert "2 restarts, 0 dead letters" in done.stderr
    assert done.stderr.count("the zygote was lost") == 1
    for name in ("out.jsonl", "2.jsonl"):
        assert [(row["v"], row["n"]) for row in ws.rows(name)] == [(i, i) for i in range(1, 1001)]
