"""What management calls and specs can be refused for, as exceptions that tell the caller what to do."""

from __future__ import annotations

from ._reasons import ExitReason


class SupervisionError(Exception):
    """Base of the errors of this library, except for `ChildExit`."""


class SpecError(SupervisionError, ValueError):
    """A spec, the flags, or the two together are not valid. `field` names the one at fault."""

    def __init__(self, where: str, field: str, problem: str) -> None:
        super().__init__(f"{where}: {field} {problem}")
        self.field = field


class ChildError(SupervisionError):
    """A management call cannot be done for this child. Nothing was changed, unless the subclass says so."""

    problem = "cannot be done"

    def __init__(self, child_id: str) -> None:
        super().__init__(f"child {child_id!r} {self.problem}")
        self.child_id = child_id


class ChildNotFoundError(ChildError):
    problem = "does not exist"


class ChildAlreadyStartedError(ChildError):
    """`value` is what the running child was started with."""

    problem = "is already running"

    def __init__(self, child_id: str, value: object) -> None:
        super().__init__(child_id)
        self.value = value


class ChildAlreadyPresentError(ChildError):
    problem = "exists already; when it is stopped, use restart_child or delete_child"


class ChildRunningError(ChildError):
    problem = "is running; use terminate_child first"


class ChildRestartingError(ChildError):
    problem = "is being restarted; use terminate_child first"


class StartFailedError(ChildError):
    """The child did not become ready. `start_child` has discarded its spec; `restart_child` and `restart` keep it."""

    def __init__(self, child_id: str, reason: ExitReason) -> None:
        self.problem = f"failed to start: {reason}"
        super().__init__(child_id)
        self.reason = reason


class MaxChildrenError(SupervisionError):
    """A dynamic supervisor has as many children as it may, those that wait to be restarted among them."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(f"supervisor {name!r} has as many children as it may ({limit})")
        self.limit = limit


class SupervisorEndedError(SupervisionError):
    """The supervisor is ending or has ended."""

    def __init__(self, name: str) -> None:
        super().__init__(f"supervisor {name!r} has ended or is ending")
