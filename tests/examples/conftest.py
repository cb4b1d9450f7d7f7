from __future__ import annotations

from run.conftest import ws

__all__ = ["ws"]
