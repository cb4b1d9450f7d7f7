"""Where the files are that come with this distribution but are no modules of it.

In a checkout they lie in `sandbox_agents/`; in a wheel, `hatch_build.py` puts them into this package.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from reflow_supervisor.errors import EnvironmentError_

_PACKAGE = Path(__file__).resolve().parent


def javascript_agent() -> Path:
    """The directory of the JavaScript agent, with its npm packages in `node_modules`.

    Raises:
        EnvironmentError_: it is not there.
    """
    for path in (
        _PACKAGE / "_agents" / "javascript",
        _PACKAGE.parent / "sandbox_agents" / "javascript",
    ):
        if (path / "package.json").is_file():
            return path
    raise EnvironmentError_(
        "the JavaScript agent is not part of this installation",
        hint="install reflow-supervisor from a wheel, or run `make setup` in a checkout",
    )


def package_directory(name: str) -> Path:
    """The directory of an installed top-level package, found without importing it.

    Raises:
        EnvironmentError_: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentError_(
            f"the Python package {name!r} is not installed",
            hint="install reflow-supervisor again: it brings all that it needs",
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()
