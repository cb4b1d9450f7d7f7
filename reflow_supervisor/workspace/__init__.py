"""One workspace: everything that is checked before a run, the run, and what it shows and obeys."""

from .flow import Collect, Feed, open_collect, open_feed
from .prepare import Prepared, check_workspace, find_actors, find_components, prepare
from .run import Outcome, Run
from .services import control_path, make_data_dir
from .shelf import open_shelf

__all__ = [
    "Collect",
    "Feed",
    "Outcome",
    "Prepared",
    "Run",
    "check_workspace",
    "control_path",
    "find_actors",
    "find_components",
    "make_data_dir",
    "open_collect",
    "open_feed",
    "open_shelf",
    "prepare",
]
