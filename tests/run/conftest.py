from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from run.harness import Workspace


@pytest.fixture
def ws() -> Iterator[Workspace]:
    # Not pytest's own directory: sandboxes run under other user ids, which may not enter that.
    path = Path(tempfile.mkdtemp(prefix="run-test-", dir="/tmp"))
    path.chmod(0o755)
    yield Workspace(path)
    shutil.rmtree(path)
