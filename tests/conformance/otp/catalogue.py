"""The test cases of OTP's supervisor_SUITE, in its order, and whether each says anything about a supervisor on Trio.

Only names and a judgement: what a case asserts says the test that carries its name, see `scenario.py`.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Verdict(enum.StrEnum):
    PORT = "P"
    CHANGE = "M"
    """What it asserts holds here in another form."""
    NOT_APPLICABLE = "N"


@attrs.frozen
class Case:
    number: int
    name: str
    verdict: Verdict


NOT_APPLICABLE: Final = {
    "get_callback_module": "a supervisor here has no callback module: its specs and flags are arguments",
}
"""Why, for each case without a test."""

_NAMES: Final = """
    P sup_start_normal
    P sup_start_ignore_init
    P sup_start_ignore_child
    P sup_start_ignore_temporary_child
    P sup_start_ignore_temporary_child_start_child
    P sup_start_ignore_temporary_child_start_child_simple
    P sup_start_ignore_permanent_child_start_child_simple
    P sup_start_error_return
    P sup_start_fail
    P sup_start_child_returns_error
    P sup_start_restart_child_returns_error
    P sup_start_child_returns_error_simple
    P sup_start_map
    P sup_start_map_simple
    P sup_start_map_faulty_specs
    P sup_stop_infinity
    P sup_stop_timeout
    P sup_stop_timeout_dynamic
    P sup_stop_brutal_kill
    P sup_stop_brutal_kill_dynamic
    P sup_stop_race
    P sup_stop_non_shutdown_exit_dynamic
    P child_adm
    P child_adm_simple
    P extra_return
    M child_specs
    M child_specs_map
    P sup_flags
    P multiple_restarts
    P one_for_one
    P one_for_one_escalation
    P one_for_all
    P one_for_all_escalation
    P one_for_all_other_child_fails_restart
    P simple_one_for_one
    P simple_one_for_one_shutdown
    P simple_one_for_one_extra
    P simple_one_for_one_escalation
    M simple_one_for_one_corruption
    P simple_one_for_one_restart_ignore
    P rest_for_one
    P rest_for_one_escalation
    P rest_for_one_other_child_fails_restart
    M external_start_no_progress_log
    P permanent_normal
    P transient_normal
    P temporary_normal
    P permanent_shutdown
    P transient_shutdown
    P temporary_shutdown
    M faulty_application_shutdown
    P permanent_abnormal
    P transient_abnormal
    P temporary_abnormal
    M child_unlink
    P tree
    P nonsignificant_temporary
    P nonsignificant_transient
    P significant_temporary
    P significant_transient
    P significant_simple
    P significant_bystander
    P significant_escalation
    M significant_upgrade_never_any
    M significant_upgrade_any_never
    M significant_upgrade_never_all
    M significant_upgrade_all_never
    M significant_upgrade_any_all
    M significant_upgrade_all_any
    M significant_upgrade_child
    P count_children
    P count_children_supervisor
    P count_restarting_children
    N get_callback_module
    M do_not_save_start_parameters_for_temporary_children
    P do_not_save_child_specs_for_temporary_children
    P simple_one_for_one_scale_many_temporary_children
    P temporary_bystander
    M simple_global_supervisor
    P hanging_restart_loop
    P hanging_restart_loop_rest_for_one
    P hanging_restart_loop_simple
    M code_change
    M code_change_map
    M code_change_simple
    M code_change_simple_map
    P order_of_children
    M scale_start_stop_many_children
    M format_log_1
    M format_log_2
    P already_started_outside_supervisor
    P which_children
    P which_children_simple_one_for_one
"""

CASES: Final = tuple(
    Case(number, name, Verdict(verdict))
    for number, (verdict, name) in enumerate((line.split() for line in _NAMES.split("\n") if line.strip()), start=1)
)
