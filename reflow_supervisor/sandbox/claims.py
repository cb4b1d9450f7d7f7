"""Directories that belong to one running supervisor, and those whose supervisor is gone.

A supervisor that is killed leaves its run directory and its control groups behind. The next one must tell
them from those of a supervisor that is alive. A process id cannot (it is reused, and means something else in
a container), so the owner holds a lock on the directory itself, which the kernel drops however the owner
ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def claim(directory: Path) -> int | None:
    """Takes the directory for this process.

    Returns:
        The descriptor that holds the claim (close it to let go), or None where somebody alive has it or where
        the directory is gone. A claim on a directory that was removed meanwhile is no claim.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), directory.lstat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
