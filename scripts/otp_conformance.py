"""Prints docs/otp-conformance.md: which cases of OTP's supervisor test suite this project has, and how.

python scripts/otp_conformance.py > docs/otp-conformance.md

All of it is in the tests: the list of cases in tests/conformance/otp/catalogue.py, and with each test the name of the
case, what that asserts, and why the test differs, if it does. tests/conformance/otp/test_catalogue.py compares the
page with what this prints.
"""

from __future__ import annotations

import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"

HEAD = """\
# Conformance with OTP

<!-- Made by `python scripts/otp_conformance.py` from the tests in tests/conformance/otp. -->

The supervisors of `reflow_supervisor.supervision` promise what OTP's do: [supervision.md](supervision.md). OTP says
what that is in a test suite of {total} cases, `supervisor_SUITE` of its `stdlib` (as of 2025). Each case that means
something here is a test of the same name, in the same order, run against the real supervisor in virtual time:

    pytest tests/conformance/otp

{summary}

Throughout, a *process* is one start of a child, a *pid* the value that it was started with, *undefined* a child that
is stopped, `shutdown` a child that was told to stop and did; and where OTP returns `{{error, Reason}}`, here an
exception is raised.

| | case | what OTP asserts | status |
|---|---|---|---|
"""


def load(name: str) -> Any:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    return import_module(f"conformance.otp.{name}")


def cell(text: str) -> str:
    """The text, as Markdown shows it in a table."""
    return "".join(f"\\{c}" if c in "\\*_<>|[]" else c for c in text)


def conformance() -> str:
    """The page."""
    catalogue, scenario = load("catalogue"), load("scenario")
    tests = {test.name: test for test in scenario.scenarios(load(name) for name in scenario.MODULES)}
    rows: list[str] = []
    statuses: Counter[str] = Counter()
    for case in catalogue.CASES:
        test = tests.get(case.name)
        name, asserts = f"`{case.name}`", ""
        if test is not None:
            name = f"[{name}](../tests/conformance/otp/{test.module}.py)"
            asserts = test.asserts
            status, why = ("ported with change", test.change) if test.change else ("ported", "")
        elif case.name in catalogue.NOT_APPLICABLE:
            status, why = "not applicable", catalogue.NOT_APPLICABLE[case.name]
        else:
            status, why = "missing", ""
        statuses[status] += 1
        rows.append(f"| {case.number} | {name} | {cell(asserts)} | {f'{status}: {cell(why)}' if why else status} |\n")
    parts = [f"{number} {status}" for status, number in sorted(statuses.items(), key=lambda one: -one[1])]
    return HEAD.format(total=len(catalogue.CASES), summary=f"{', '.join(parts)}.") + "".join(rows)


if __name__ == "__main__":
    print(conformance(), end="")
