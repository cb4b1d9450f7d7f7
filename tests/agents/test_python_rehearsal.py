from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
import builtins, json, linecache, os, signal, sys, threading
import asyncio, reflow.agent.__main__
from reflow.agent import rehearsal
def look():
    return [
        sorted(sys.modules), sys.path[:], len(sys.path_hooks), sorted(linecache.cache), sorted(vars(builtins)),
        sorted(os.listdir('/proc/self/fd')), len(threading.enumerate()), sorted(os.environ),
        [repr(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT, signal.SIGCHLD)],
        asyncio._get_running_loop() is None, os.getcwd(), sys.getswitchinterval(),
    ]
before = look()
rehearsal.rehearse()
print(json.dumps([before, look()]))
"""


def test_it_leaves_nothing_behind_but_modules() -> None:
    answer = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stderr == ""
    before, after = json.loads(answer.stdout)
    assert before[1:] == after[1:]
    assert set(before[0]) < set(after[0]), "an agent would have imported these, one by one"
    assert "__actor__" not in after[0]
