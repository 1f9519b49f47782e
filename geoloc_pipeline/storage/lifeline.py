"""One chain at a time in a home, and no process that outlives the chain it works for.

A chain that is killed (`kill -9`) cannot stop its workers. They look after themselves: each watches the process it
works for and ends when that is gone, and holds the home's lock until then, so that the next chain never meets them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.storage.atomic import disk_errors, is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoloc_pipeline.storage.layout import Home

ANCESTOR_VARIABLE = "GEOLOC_WORKS_FOR_PID"
POLL_S = 0.3
ORPHANED = 75  # EX_TEMPFAIL: nothing is wrong with the work, run it again


@contextlib.contextmanager
def hold_home(home: Home, *, patience_s: float = 60.0) -> Iterator[int]:
    """Hold the home for one chain; whoever inherits the descriptor holds it too.

    Args:
        home: The home.
        patience_s: How long to wait for the workers of a chain that was killed.

    Yields:
        The descriptor of the lock, to be passed on to workers.

    Raises:
        SettingError: Another chain works in this home.
    """
    path = home.lock()
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    with stream:
        deadline_s = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise SettingError(
                        setting="GEOLOC_HOME",
                        value=str(home.root),
                        cure="another run works in this home: wait for it, or name another home",
                    ) from None
                time.sleep(POLL_S)
        yield stream.fileno()


def end_with_ancestor() -> None:
    """End this process as soon as the one named in GEOLOC_WORKS_FOR_PID is gone; does nothing where none is named."""
    told = os.environ.get(ANCESTOR_VARIABLE, "")
    if told.isdigit():
        threading.Thread(target=_watch, args=(int(told),), daemon=True, name="lifeline").start()


def lead_group(ancestor: int) -> None:
    """Make this process the leader of a group of its own, and end the whole group as soon as another process is gone.

    For work that is handed to a library which starts processes of its own: nobody else would end those.

    Args:
        ancestor: Process id of whoever wants the work.
    """
    os.setsid()
    threading.Thread(target=_watch_for_group, args=(ancestor,), daemon=True, name="lifeline").start()


def end_group(leader: int | None) -> None:
    """End a group, whatever its processes do; nothing where it is gone, or its leader does not lead it yet."""
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _watch_for_group(ancestor: int) -> None:
    while is_alive(ancestor):
        time.sleep(POLL_S)
    os.killpg(0, signal.SIGKILL)


def _watch(pid: int) -> None:
    parent = os.getppid()  # whoever stands between (torchrun) may be killed alone
    while is_alive(pid) and os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(ORPHANED)
