"""Discovery over real directories: what is found, what is left out, and what a hostile workspace cannot do."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from reflow_supervisor.actors import discovery as module
from reflow_supervisor.actors.discovery import Discovery, discover
from reflow_supervisor.errors import Location, Severity

EXAMPLES = Path(__file__).parents[2] / "examples"


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def actor(name: str) -> str:
    return f"from reflow import actor\n\n@actor(name={name!r}, inports=['a'], outports=['b'])\ndef f(context): ...\n"


def names(found: Discovery) -> list[str]:
    return [component.name for component in found.components]


def codes(found: Discovery) -> list[tuple[str, str]]:
    return [(problem.code, problem.location.file if problem.location else "") for problem in found.problems]


def test_the_quick_start_workspace():
    found = discover(EXAMPLES / "seed")
    assert found.problems == ()
    assert found.files == ("actors/aggregate.actor.js", "actors/process.actor.py")
    assert names(found) == ["StreamAggregator", "DataProcessor"]


def test_to_json_is_what_actors_prints():
    printed = json.loads(json.dumps(discover(EXAMPLES / "seed").to_json()))
    assert printed["problems"] == []
    first, second = printed["actors"]
    assert (first["name"], first["runtime"], first["file"], first["line"]) == (
        "StreamAggregator",
        "javascript",
        "actors/aggregate.actor.js",
        3,
    )
    assert [port["name"] for port in second["inports"]] == ["data", "config"]
    assert second["inports"][0] == {
        "name": "data",
        "type": "any",
        "required": False,
        "default": None,
        "description": "",
    }
    assert second["old_forms"] == []


def test_order_does_not_depend_on_the_file_system(tmp_path: Path):
    for name in ("z", "b/y", "a/x", "b-c"):
        write(tmp_path, **{f"{name}.actor.py": actor(name)})
    found = discover(tmp_path)
    assert list(found.files) == sorted(found.files)
    assert found.components == discover(tmp_path).components


def test_patterns_and_exclusions(tmp_path: Path):
    for place in ("a", "x/a", "drafts/a", "x/node_modules/a", ".venv/a", ".git/a", "x/__pycache__/a", ".reflow/a"):
        write(tmp_path, **{f"{place}.actor.py": actor(place)})
    write(tmp_path, **{"x/old.actor.py": actor("old"), "x/plain.py": actor("plain"), "actors/late.py": actor("late")})
    found = discover(tmp_path, ["**/*.actor.py", "actors/*.py"], exclude=["drafts", "x/old.*"])
    assert found.problems == ()
    assert sorted(names(found)) == ["a", "late", "x/a"]


def test_patterns_that_cannot_be_used_do_not_stop_the_others(tmp_path: Path):
    write(tmp_path, **{"a.actor.py": actor("A")})
    found = discover(tmp_path, ["/etc/*.py", "*.actor.py"], exclude=["../x"])
    assert names(found) == ["A"]
    assert [(problem.code, problem.path) for problem in found.problems] == [
        ("bad-pattern", "workspace.script_patterns[0]"),
        ("bad-pattern", "workspace.exclude[0]"),
    ]


def test_a_broken_file_does_not_hide_the_others(tmp_path: Path):
    write(
        tmp_path,
        **{
            "a.actor.py": actor("A"),
            "b.actor.py": "def broken(:\n",
            "c.actor.js": "@actor({name: 'C', inports: [ )\nfunction c() {}",
            "d.actor.py": "@actor(name='D', outports=open('x'))\ndef d(c): ...",
            "e.actor.js": "@actor({name: 'E', outports: []})\nfunction e() {}",
        },
    )
    (tmp_path / "f.actor.py").write_bytes(b"\xff\xfe")
    found = discover(tmp_path)
    assert names(found) == ["A", "E"]
    assert codes(found) == [
        ("syntax-error", "b.actor.py"),
        ("syntax-error", "c.actor.js"),
        ("not-literal", "d.actor.py"),
        ("undecodable", "f.actor.py"),
    ]
    assert found.broken == {"D": Location("d.actor.py", 1, 1)}
    assert len(found.files) == 6


def test_two_actors_of_one_name(tmp_path: Path):
    write(
        tmp_path, **{"a.actor.py": actor("Same"), "b.actor.js": "@actor({name: 'Same', outports: []})\nfunction b() {}"}
    )
    found = discover(tmp_path)
    assert [component.location for component in found.components] == [Location("a.actor.py", 3, 1)]
    (problem,) = found.problems
    assert (problem.code, problem.location) == ("duplicate-name", Location("b.actor.js", 1, 1))
    assert 'an actor named "Same" is already declared at a.actor.py:3:1' in str(problem)


def test_nothing_is_run(tmp_path: Path):
    marker = tmp_path / "ran"
    python = f"open({str(marker)!r}, 'w')\n{actor('P')}\nopen({str(marker)!r}, 'w')\n"
    javascript = (
        f"require('fs').writeFileSync({str(marker)!r}, '');\n"
        f"@actor({{name: 'J', outports: [], timeout: require('fs').writeFileSync({str(marker)!r}, '')}})\n"
        "function j() {}"
    )
    write(tmp_path, **{"a.actor.py": python, "b.actor.js": javascript})
    assert names(discover(tmp_path)) == ["P"]
    assert not marker.exists()


@pytest.mark.parametrize("name", ["it's", "'+__import__('os').system('touch ran')+'", "a; rm -rf /", "${7*7}"])
def test_names_are_data(tmp_path: Path, name: str):
    write(tmp_path, **{"it's.actor.py": actor(name)})
    (component,) = discover(tmp_path).components
    assert component.name == name
    assert component.location == Location("it's.actor.py", 3, 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "it's.actor.py"]


def test_links(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root, **{"shared/real.py": actor("Linked"), "own.actor.py": actor("Own")})
    write(outside, **{"secret.actor.py": actor("Secret")})
    (root / "linked.actor.py").symlink_to("shared/real.py")
    (root / "again.actor.py").symlink_to("own.actor.py")  # of a script that is found anyway
    (root / "escape.actor.py").symlink_to(outside / "secret.actor.py")
    (root / "dangling.actor.py").symlink_to("nowhere")
    (root / "circle.actor.py").symlink_to("circle.actor.py")
    (root / "directory").symlink_to(outside)
    (root / "up").symlink_to("..")
    found = discover(root)
    assert names(found) == ["Linked", "Own"]
    (problem,) = found.problems
    assert (problem.code, problem.severity, problem.location) == (
        "outside",
        Severity.WARNING,
        Location("escape.actor.py"),
    )


def test_a_root_that_is_itself_a_link(tmp_path: Path):
    write(tmp_path / "real", **{"a.actor.py": actor("A")})
    (tmp_path / "root").symlink_to("real")
    assert names(discover(tmp_path / "root")) == ["A"]


def test_what_is_no_regular_file_is_never_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo.actor.py")
    (tmp_path / "directory.actor.py").mkdir()
    write(tmp_path, **{"a.actor.py": actor("A")})
    found = discover(tmp_path)
    assert names(found) == ["A"]
    assert codes(found) == [("unreadable", "fifo.actor.py")]
    assert "is no regular file" in found.problems[0].message


def test_a_file_that_is_too_large(tmp_path: Path):
    write(tmp_path, **{"a.actor.py": actor("A") + "#" * module.MAX_SCRIPT, "b.actor.py": actor("B")})
    found = discover(tmp_path)
    assert names(found) == ["B"]
    assert codes(found) == [("unreadable", "a.actor.py")]
    assert "is larger than 1048576 bytes" in found.problems[0].message


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SCRIPTS", 2)
    for name in "abc":
        write(tmp_path, **{f"{name}.actor.py": actor(name)})
    found = discover(tmp_path)
    assert names(found) == ["a", "b"]
    assert [problem.code for problem in found.problems] == ["too-many-files"]


def test_a_file_that_vanishes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, **{"a.actor.py": actor("A"), "b.actor.py": actor("B")})
    read_script = module.read_script

    def deleting(script: module.Script) -> module.Metadata:
        (tmp_path / "b.actor.py").unlink()
        return read_script(script)

    monkeypatch.setattr(module, "read_script", deleting)
    found = discover(tmp_path)
    assert (names(found), found.problems, found.files) == (["A"], (), ("a.actor.py",))


def test_file_names_that_cannot_be_shown(tmp_path: Path):
    (tmp_path / "a\x1b[2J\n.actor.py").write_text(actor("A"))
    (tmp_path / "harmless\n.txt").write_text("")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.actor.py")).write_text(actor("B"))
    found = discover(tmp_path)
    assert found.components == ()
    assert sorted(codes(found)) == [("unreadable", "\\udcff.actor.py"), ("unreadable", "a\\x1b[2J\\n.actor.py")]
    json.dumps(found.to_json()).encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path):
    write(tmp_path, **{"a.actor.py": actor("A"), "locked/b.actor.py": actor("B"), "c.actor.py": actor("C")})
    (tmp_path / "c.actor.py").chmod(0)
    (tmp_path / "locked").chmod(0)
    found = discover(tmp_path)
    (tmp_path / "locked").chmod(0o700)
    assert names(found) == ["A"]
    assert sorted(codes(found)) == [("unreadable", "c.actor.py"), ("unreadable", "locked")]


def test_deep_directories(tmp_path: Path):
    deep = tmp_path.joinpath(*"d" * 80)
    deep.mkdir(parents=True)
    write(deep, **{"a.actor.py": actor("A")})
    found = discover(tmp_path)
    assert found.components == ()
    (problem,) = found.problems
    assert "deeper than 64 directories" in problem.message


def test_a_workspace_that_is_not_there(tmp_path: Path):
    found = discover(tmp_path / "nowhere")
    assert [problem.code for problem in found.problems] == ["unreadable"]


def test_a_file_in_another_language(tmp_path: Path):
    write(tmp_path, **{"a.actor.rb": "puts 1"})
    found = discover(tmp_path, ["**/*.actor.*"])
    assert [(problem.code, problem.severity) for problem in found.problems] == [("unknown-language", Severity.WARNING)]


def test_a_hundred_files_in_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    python, javascript = (EXAMPLES / "seed/actors" / name for name in ("process.actor.py", "aggregate.actor.js"))
    for index in range(50):
        write(
            tmp_path,
            **{
                f"p/{index}.actor.py": python.read_text().replace("DataProcessor", f"P{index}"),
                f"j/{index}.actor.js": javascript.read_text().replace("StreamAggregator", f"J{index}"),
            },
        )
    begin = time.perf_counter()
    found = discover(tmp_path)
    seconds = time.perf_counter() - begin
    assert (len(found.components), found.problems) == (100, ())
    with capsys.disabled():
        print(f"\ndiscovery of 100 actors: {seconds * 1000:.0f} ms")
