"""What is known against a run before it starts, beyond what the network itself says; by `check` and by `run`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from reflow_supervisor.config import Config, load_config
from reflow_supervisor.errors import Problem, Severity, UserError
from reflow_supervisor.sandbox import interpreters
from reflow_supervisor.sandbox.interpreters import Interpreter
from reflow_supervisor.workspace import check_workspace, prepare

ACTOR = """
from reflow import actor

@actor(name="A", inports=["x"], outports=["y"])
def a(context):
    return {"y": 1}
"""


def workspace(path: Path, text: str) -> Config:
    (path / "a.actor.py").write_text(ACTOR)
    (path / "reflow.yaml").write_text(textwrap.dedent(text))
    return load_config(path / "reflow.yaml")


def found(config: Config, severity: Severity = Severity.ERROR, *, runs: bool = True) -> list[Problem]:
    """What `check` finds; `prepare` says the same of errors."""
    _, problems = check_workspace(config)
    mine = [p for p in problems if p.severity is severity]
    if severity is Severity.ERROR and mine:
        with pytest.raises(UserError) as refused:
            prepare(config)
        assert list(refused.value.problems) == mine
    elif severity is Severity.ERROR and runs:
        prepare(config)
    return mine


def shown(problem: Problem) -> str:
    return str(problem).replace(f"{Path(problem.location.file).parent}/", "") if problem.location else str(problem)


def test_a_network_that_can_run_has_nothing_against_it(tmp_path: Path) -> None:
    config = workspace(tmp_path, "network: {processes: {a: {component: A}}, inports: {i: a.x}}\n")
    assert found(config) == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("../../**", "must not lead out of the workspace"), ("[z-a]", "is not a pattern")],
)
def test_a_pattern_of_files_that_is_none_has_its_place(tmp_path: Path, pattern: str, message: str) -> None:
    config = workspace(
        tmp_path,
        f"""\
        workspace:
          sandbox:
            include: ["a.txt", "{pattern}"]
        network: {{processes: {{a: {{component: A}}}}, inports: {{i: a.x}}}}
        """,
    )
    (problem,) = found(config)
    assert problem.code == "bad-pattern"
    assert (problem.location and problem.location.line, problem.path) == (3, "workspace.sandbox.include[1]")
    assert "workspace" in str(problem)
    assert message in str(problem) or "pattern" in str(problem)


def test_more_files_than_a_sandbox_takes_are_refused_before_anything_starts(tmp_path: Path) -> None:
    config = workspace(
        tmp_path,
        """\
        workspace: {sandbox: {include: ["big.bin"]}}
        network: {processes: {a: {component: A}}, inports: {i: a.x}}
        """,
    )
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    (problem,) = found(config)
    assert problem.code == "too-many-files"


def test_more_script_nodes_than_sandboxes(tmp_path: Path) -> None:
    config = workspace(
        tmp_path,
        """\
        workspace:
          sandbox: {preload_count: 0, max_pool_size: 1}
        network:
          processes: {a: {component: A}, b: {component: A}, c: {component: log}}
          connections: ["a.y -> b.x", "b.y -> c.in"]
          inports: {i: a.x}
        """,
    )
    assert found(config, Severity.ERROR, runs=False) == []
    (problem,) = found(config, Severity.WARNING)
    assert shown(problem) == (
        "reflow.yaml:2:46: warning: workspace.sandbox.max_pool_size: 2 script nodes need as many sandboxes, "
        "and max_pool_size is 1 (raise workspace.sandbox.max_pool_size)"
    )
    with pytest.raises(UserError, match=r"2:46: error: .*2 script nodes need as many sandboxes"):
        prepare(config)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ("backend: process", "unsafe-backend"),
        ("backend: microsandbox", "unknown-backend"),
        ("minimum_isolation: microvm", "no-backend"),
        ("backend: bubblewrap, minimum_isolation: microvm", "weak-backend"),
        ("backend: process, unsafe: true", None),
        ("backend: bubblewrap", None),
    ],
)
def test_a_boundary_that_no_machine_gives(tmp_path: Path, settings: str, code: str | None) -> None:
    config = workspace(
        tmp_path,
        f"""\
        workspace: {{sandbox: {{{settings}}}}}
        network: {{processes: {{a: {{component: A}}}}, inports: {{i: a.x}}}}
        """,
    )
    assert [p.code for p in found(config)] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("image", "warns"),
    [("python:3.11", False), ("python:3", False), ("python:3.12", True), ("python", False), ("python:slim", False)],
)
def test_an_image_that_promises_another_version_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, warns: bool
) -> None:
    monkeypatch.setattr(interpreters, "python", lambda: Interpreter(Path("python"), "3.11.7"))
    config = workspace(
        tmp_path,
        f"""\
        workspace: {{sandbox: {{python_image: "{image}"}}}}
        network: {{processes: {{a: {{component: A}}}}, inports: {{i: a.x}}}}
        """,
    )
    assert found(config) == []
    warnings = [p for p in found(config, Severity.WARNING) if p.code == "other-version"]
    assert len(warnings) == warns
    if warns:
        assert "scripts run with this machine's 3.11.7" in warnings[0].message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("path: /etc/passwd", "is outside of the workspace"),
        ("path: missing.jsonl", "there is no file missing.jsonl"),
        ("path: ''", "is a directory"),
        ("path: sub", "is a directory"),
        ("path: rows.jsonl", None),
        ("path: missing/out.jsonl, mode: write", "there is no directory missing"),
        ("path: sub/out.jsonl, mode: write", None),
    ],
)
def test_a_file_that_cannot_be_read_or_written(tmp_path: Path, config: str, message: str | None) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "rows.jsonl").touch()
    writes = "mode" in config
    wires = "inports: {i: f.in}" if writes else "outports: {o: f.out}"
    it = workspace(
        tmp_path,
        f"network:\n  processes: {{f: {{component: file, config: {{{config}}}}}}}\n  {wires}\n",
    )
    problems = found(it)
    if message is None:
        assert problems == []
    else:
        (problem,) = problems
        assert message in problem.message
        assert (problem.location and problem.location.line, problem.path) == (2, "network.processes.f.config.path")


def test_two_nodes_that_would_share_standard_input(tmp_path: Path) -> None:
    config = workspace(
        tmp_path,
        """\
        network:
          processes: {a: {component: stdin}, b: {component: stdin}}
          outports: {x: a.out, y: b.out}
        """,
    )
    (problem,) = found(config)
    assert problem.message.startswith("a reads standard input already")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("g1: {nodes: [a]}, g2: {nodes: [b], groups: {a: {nodes: [c]}}}", "a is the name of a node and of a group"),
        ("network: {nodes: [a]}", "network is the name of the supervisor of all nodes already"),
        ("g1: {nodes: [a], groups: {g2: {nodes: [b]}}}, g2: {nodes: [c]}", "g2 is the name of another group already"),
        ("g1: {nodes: [a], groups: {g2: {nodes: [b]}}}, g3: {nodes: [c]}", ""),
    ],
)
def test_names_of_groups_and_nodes_are_apart(tmp_path: Path, groups: str, message: str) -> None:
    config = workspace(
        tmp_path,
        f"""\
        network:
          processes: {{a: {{component: A}}, b: {{component: A}}, c: {{component: A}}}}
          inports: {{i: a.x, j: b.x, k: c.x}}
        supervision: {{groups: {{{groups}}}}}
        """,
    )
    assert [p.message for p in found(config)] == ([message] if message else [])
