"""`init` and `new-actor`: through the command line's own entry point, and what they write through discovery, check
and real runs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from reflow_supervisor.cli import cli, main
from reflow_supervisor.errors import EnvironmentError_, UserError
from reflow_supervisor.network.component import Runtime
from reflow_supervisor.scaffold.commands import init, new_actor
from reflow_supervisor.scaffold.files import remove, write_new
from reflow_supervisor.scaffold.templates import file_name

BROKEN = 'from reflow import actor\n@actor(name="Broken", inports=3)\nasync def f(context): ...\n'


@attrs.frozen
class Done:
    code: int
    out: str
    err: str


Reflow = Callable[..., Done]


@pytest.fixture
def reflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Reflow:
    """The command line, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(cli.commands, "init", init)
    monkeypatch.setitem(cli.commands, "new-actor", new_actor)

    def run(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["reflow-supervise", *args])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as e:
            code = int(e.code or 0)
        return Done(code, *capsys.readouterr())

    return run


def tree(root: Path) -> dict[str, str | None]:
    """Path → text; None for directories."""
    return {str(p.relative_to(root)): p.read_text() if p.is_file() else None for p in root.rglob("*")}


def run_for_real(command: str, stdin: str = "") -> list[Any]:
    args = [sys.executable, "-m", "reflow_supervisor", *shlex.split(command)[1:]]
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# ── init ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_first_workspace_is_listed_and_has_nothing_wrong_with_it(reflow: Reflow, tmp_path: Path) -> None:
    done = reflow("init")
    assert done.code == 0, done.err
    files = {name for name, text in tree(tmp_path).items() if text is not None}
    assert {line.removeprefix("wrote ") for line in done.out.splitlines() if line.startswith("wrote")} == files
    assert (tmp_path / ".gitignore").read_text() == ".reflow/\n"
    checked = reflow("check", "--json")
    assert (checked.code, json.loads(checked.out)) == (0, {"problems": []})
    listed = json.loads(reflow("actors", "--json").out)
    assert listed["problems"] == []
    assert {a["runtime"] for a in listed["actors"]} == {"python", "javascript"}
    assert {p["type"] for a in listed["actors"] for p in a["inports"] + a["outports"]} == {"object"}


@pytest.mark.slow
def test_the_command_that_init_prints_runs_and_its_totals_go_on_in_the_next_run(reflow: Reflow, tmp_path: Path) -> None:
    done = reflow("init", "my shop")
    cd, run = done.out.splitlines()[-2:]
    os.chdir(shlex.split(cd)[1])
    raws = [json.loads(line) for line in Path("sample.jsonl").read_text().splitlines()]
    good = [raw for raw in raws if str(raw["quantity"]).isdecimal()]
    assert len(good) == len(raws) - 1
    sums = Counter[str]()
    for raw in good:
        sums[raw["customer"]] += int(raw["quantity"]) * int(Decimal(str(raw["price"])) * 100)
    for nth in (1, 2):
        rows = run_for_real(f"{run} --collect rejected=rejected.jsonl")
        # That they come in order is for the tests of edges to say.
        first = (nth - 1) * len(good) + 1
        assert [row["orders"] for row in rows] == list(range(first, first + len(good)))
        assert {c: max(r["cents"] for r in rows if r["customer"] == c) for c in sums} == {
            c: nth * cents for c, cents in sums.items()
        }
    rejected = json.loads(Path("rejected.jsonl").read_text())
    assert rejected == {"raw": next(r for r in raws if r not in good), "reason": "quantity and price must be numbers"}


def test_init_makes_the_directories_it_needs(reflow: Reflow, tmp_path: Path) -> None:
    done = reflow("init", "new/shop")
    assert done.code == 0
    assert (tmp_path / "new/shop/actors/parse_order.actor.py").is_file()
    assert "  cd new/shop\n" in done.out


def test_init_never_overwrites_and_lists_what_is_there(reflow: Reflow, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    (tmp_path / "sample.jsonl").symlink_to("nowhere")
    before = tree(tmp_path)
    done = reflow("init")
    assert (done.code, done.out) == (2, "")
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["sample.jsonl", ".gitignore"]
    assert tree(tmp_path) == before


def test_init_takes_back_what_it_wrote_where_the_rest_cannot_be_written(reflow: Reflow, tmp_path: Path) -> None:
    (tmp_path / "actors").write_text("in the way")
    done = reflow("init")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("actors: error: ")
    assert tree(tmp_path) == {"actors": "in the way"}


@pytest.mark.parametrize("directory", ["/proc/shop", "file/shop", "file"])
def test_init_says_where_it_cannot_write(reflow: Reflow, tmp_path: Path, directory: str) -> None:
    (tmp_path / "file").write_text("")
    done = reflow("init", directory)
    assert (done.code, done.out) == (2, "")
    assert directory.partition("/shop")[0] in done.err
    assert "Traceback" not in done.err
    assert tree(tmp_path) == {"file": ""}


# ── new-actor ────────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ["MovingAverage", "average", 'say "hi" \\ $name', "日本語 größe", "a/../b", "class", "*/ */", "x" * 128, "🙂"]


@pytest.mark.parametrize("runtime", ["python", "javascript"])
@pytest.mark.parametrize("name", NAMES)
def test_a_new_actor_is_found_and_what_is_said_wires_it_in(
    reflow: Reflow, tmp_path: Path, name: str, runtime: str
) -> None:
    done = reflow("new-actor", name, f"--{runtime}")
    assert done.code == 0, done.err
    listed = json.loads(reflow("actors", "--json").out)
    assert listed["problems"] == []
    [actor] = listed["actors"]
    assert (actor["name"], actor["runtime"]) == (name, runtime)
    assert [[p["name"] for p in actor[ports]] for ports in ("inports", "outports")] == [["item"], ["result"]]
    assert done.out.startswith(f"wrote {actor['file']}\n")

    network = yaml.safe_load(done.out.partition("yours:\n")[2])
    [node] = network["processes"]
    assert network["connections"] == [f"NODE.PORT -> {node}.item", f"{node}.result -> NODE.PORT"]
    network |= {"connections": [f"{node}.result -> {node}.item"], "inports": {"in": f"{node}.item"}}
    (tmp_path / "reflow.yaml").write_text(yaml.safe_dump({"network": network}))
    checked = reflow("check", "--json")
    assert (checked.code, json.loads(checked.out)["problems"]) == (0, [])


@pytest.mark.slow
def test_new_actors_run(reflow: Reflow, tmp_path: Path) -> None:
    assert reflow("new-actor", "First", "--python").code == 0
    assert reflow("new-actor", "Second", "--javascript").code == 0
    network = {
        "processes": {"first": {"component": "First"}, "second": {"component": "Second"}},
        "connections": ["first.result -> second.item"],
        "inports": {"in": "first.item"},
        "outports": {"out": "second.result"},
    }
    config = {"workspace": {"sandbox": {"preload_count": 0}}, "network": network}
    (tmp_path / "reflow.yaml").write_text(yaml.safe_dump(config))
    rows = run_for_real("reflow-supervise run --headless --feed in=- --collect out=-", '"a"\n[1]\n')
    want = ["a", [1]]
    assert rows == [{"item": {"item": x, "count": n}, "count": n} for n, x in enumerate(want, 1)]


def test_a_new_actor_goes_where_the_others_are(reflow: Reflow, tmp_path: Path) -> None:
    assert reflow("init", "shop").code == 0
    done = reflow("new-actor", "Round", "--python", "-c", "shop/reflow.yaml")
    assert done.out.startswith("wrote shop/actors/round.actor.py\n")
    done = reflow("new-actor", "Deep", "--javascript", "-c", "shop/reflow.yaml", "--directory", "shop/actors/more/yet")
    assert done.out.startswith("wrote shop/actors/more/yet/deep.actor.js\n")
    names = [a["name"] for a in json.loads(reflow("actors", "--json", "-c", "shop/reflow.yaml").out)["actors"]]
    assert sorted(names) == ["CustomerTotals", "Deep", "ParseOrder", "Round"]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[2J", "\u2028", "\udcff", "x" * 129])
@pytest.mark.parametrize("runtime", ["--python", "--javascript"])
def test_a_name_that_no_actor_may_have(reflow: Reflow, tmp_path: Path, name: str, runtime: str) -> None:
    done = reflow("new-actor", name, runtime)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: NAME: ")
    assert done.err.count("\n") == 1
    assert tree(tmp_path) == {}


def test_a_name_that_is_taken_is_refused_with_its_place(reflow: Reflow, tmp_path: Path) -> None:
    reflow("init")
    (tmp_path / "actors" / "broken.actor.py").write_text(BROKEN)
    before = tree(tmp_path)
    done = reflow("new-actor", "ParseOrder", "--javascript")
    assert done.code == 2
    assert done.err.startswith("actors/parse_order.actor.py:28:1: error: ")
    done = reflow("new-actor", "Broken", "--python")
    assert done.code == 2
    assert done.err.startswith("actors/broken.actor.py:2:1: error: ")
    assert tree(tmp_path) == before


def test_a_file_that_is_there_is_not_overwritten(reflow: Reflow, tmp_path: Path) -> None:
    (tmp_path / "a_b.actor.py").write_text("# mine\n")
    done = reflow("new-actor", "aB", "--python", "--directory", ".")
    assert done.code == 2
    assert done.err.startswith("a_b.actor.py: error: ")
    assert (tmp_path / "a_b.actor.py").read_text() == "# mine\n"


@pytest.mark.parametrize("flags", [(), ("--python", "--javascript")])
def test_one_language_must_be_given(reflow: Reflow, tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = reflow("new-actor", "A", *flags)
    assert (done.code, done.out) == (2, "")
    assert "--python and --javascript" in done.err
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("workspace", "directory", "said"),
    [
        ("{}", "../elsewhere", "outside of the workspace"),
        ("{}", "/", "outside of the workspace"),
        ("{script_patterns: ['actors/*.actor.py']}", "more/scripts", "scripts are actors/*.actor.py"),
        ("{exclude: [old]}", "old", "without old"),
        ("{}", ".hidden/node_modules", "would not be found"),
        ("{discover_scripts: false}", ".", "discover_scripts is false"),
    ],
)
def test_a_script_that_the_workspace_would_not_find_is_not_written(
    reflow: Reflow, tmp_path: Path, workspace: str, directory: str, said: str
) -> None:
    (tmp_path / "reflow.yaml").write_text(f"workspace: {workspace}\n")
    done = reflow("new-actor", "A", "--python", "--directory", directory)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert set(tree(tmp_path)) == {"reflow.yaml"}
    assert not (tmp_path.parent / "elsewhere").exists()


def test_a_network_in_a_graph_file_is_pointed_to(reflow: Reflow, tmp_path: Path) -> None:
    (tmp_path / "reflow.yaml").write_text("network: {graph: shop.graph.json}\n")
    done = reflow("new-actor", "A", "--python")
    assert done.code == 0
    assert "shop.graph.json" in done.out
    assert "processes:" not in done.out


def test_a_broken_configuration_is_shown_and_nothing_written(reflow: Reflow, tmp_path: Path) -> None:
    (tmp_path / "reflow.yaml").write_text("nonsense: 1\n")
    done = reflow("new-actor", "A", "--python")
    assert done.code == 2
    assert done.err.startswith("reflow.yaml:1:1: error: ")
    assert set(tree(tmp_path)) == {"reflow.yaml"}


# ── The parts ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "python", "javascript"),
    [
        ("MovingAverage", "moving_average", "moving-average"),
        ("HTTPServer2Go", "http_server2_go", "http-server2-go"),
        ("already_snake", "already_snake", "already-snake"),
        ("two words", "two_words", "two-words"),
        ("../etc/passwd", "etc_passwd", "etc-passwd"),
        ("...", "actor", "actor"),
    ],
)
def test_file_names(name: str, python: str, javascript: str) -> None:
    assert file_name(name, Runtime.PYTHON) == f"{python}.actor.py"
    assert file_name(name, Runtime.JAVASCRIPT) == f"{javascript}.actor.js"


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match="File name too long"):
        write_new(tmp_path / "a" / "b", {"c/one": "1", "two": "2", "n" * 256: "3"})
    assert tree(tmp_path) == {}
    made = write_new(tmp_path / "a", {"b/one": "1"})
    with pytest.raises(UserError, match="b/one"):
        write_new(tmp_path / "a", {"b/one": "2", "b/two": "2"})
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/one": "1"}
    (tmp_path / "a" / "theirs").write_text("3")
    remove(made)
    assert tree(tmp_path) == {"a": None, "a/theirs": "3"}
