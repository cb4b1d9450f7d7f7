"""What the commands have in common."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from reflow_supervisor.cli.shared import config_option, failed, json_option, load, print_json, print_problems
from reflow_supervisor.errors import Location, Problem, Severity, UserError

ERROR = Problem("bad", "is bad", Location("reflow.yaml", 3), "a.b", "mend it")
WARNING = Problem("odd", "is odd", severity=Severity.WARNING)


def test_only_errors_fail() -> None:
    assert not failed([])
    assert not failed([WARNING])
    assert failed([WARNING, ERROR])


def test_problems_go_to_stderr_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_problems([ERROR, WARNING])
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{ERROR}\n{WARNING}\n"


def test_results_go_to_stdout_as_json_that_people_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ü": [1]})
    out, err = capsys.readouterr()
    assert (json.loads(out), "ü" in out, err) == ({"ü": [1]}, True, "")


def test_without_a_file_defaults_hold_unless_one_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None).workspace.redis.url == "embedded"
    with pytest.raises(UserError, match=r"other\.yaml"):
        load(Path("other.yaml"))


def test_a_file_of_the_usual_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reflow.yaml").write_text("workspace: {redis: {namespace: mine}}\n")
    assert load(None).workspace.redis.namespace == "mine"


@pytest.mark.parametrize(
    ("args", "shown", "code"),
    [
        ([], "None False", 0),
        (["-c", "x.yaml", "--json"], "x.yaml True", 0),
        (["--config", "x.yaml"], "x.yaml False", 0),
        (["--config", "."], "is a directory", 2),
        (["--what"], "No such option", 2),
    ],
)
def test_options(args: list[str], shown: str, code: int) -> None:
    @click.command()
    @config_option
    @json_option
    def command(config_path: Path | None, as_json: bool) -> None:
        click.echo(f"{config_path} {as_json}")

    result = CliRunner().invoke(command, args)
    assert (shown in result.output, result.exit_code) == (True, code)
