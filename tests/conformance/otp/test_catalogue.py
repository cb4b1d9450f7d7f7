"""The tests here are all of OTP's suite that applies, in its order, and docs/otp-conformance.md says so."""

from __future__ import annotations

import runpy
from importlib import import_module
from pathlib import Path

from conformance.otp.catalogue import CASES, NOT_APPLICABLE, Verdict
from conformance.otp.scenario import MODULES, scenarios

ROOT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "otp_conformance.py"))
TESTS = list(scenarios(import_module(f"conformance.otp.{name}") for name in MODULES))
VERDICTS = {case.name: case.verdict for case in CASES}


def test_the_page_is_made_from_the_tests() -> None:
    """If this fails: `python scripts/otp_conformance.py > docs/otp-conformance.md`."""
    assert SCRIPT["conformance"]() == (ROOT / "docs" / "otp-conformance.md").read_text()


def test_the_suite_has_93_cases_of_different_names() -> None:
    assert len(CASES) == len(VERDICTS) == 93


def test_every_case_that_applies_has_one_test() -> None:
    applicable = {name for name, verdict in VERDICTS.items() if verdict is not Verdict.NOT_APPLICABLE}
    assert sorted(test.name for test in TESTS) == sorted(applicable)


def test_every_case_that_does_not_apply_says_why() -> None:
    assert {name for name, verdict in VERDICTS.items() if verdict is Verdict.NOT_APPLICABLE} == set(NOT_APPLICABLE)
    assert all(NOT_APPLICABLE.values())


def test_what_could_not_be_ported_as_it_is_says_why() -> None:
    assert [test.name for test in TESTS if VERDICTS[test.name] is Verdict.CHANGE and not test.change] == []


def test_tests_have_the_names_of_the_originals_and_say_what_these_assert() -> None:
    assert [test.test.__name__ for test in TESTS] == [f"test_{test.name}" for test in TESTS]
    assert [test.name for test in TESTS if not test.asserts or "\n" in test.asserts] == []


def test_tests_stand_in_the_order_of_the_suite() -> None:
    numbers = {case.name: case.number for case in CASES}
    by_module = {name: [numbers[test.name] for test in TESTS if test.module == name] for name in MODULES}
    assert list(by_module.values()) == sorted(sorted(group) for group in by_module.values())


def test_there_is_no_file_of_tests_that_the_page_does_not_know() -> None:
    files = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert files == {*MODULES, Path(__file__).stem}
