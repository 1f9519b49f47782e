"""Work in a child process of which nothing is left when it ends, whatever way it ends.

Belongs here: what stands between a benchmark that starts servers and the terminal.
Does not belong here: the servers; each still ends what it started, and this only sees to what was missed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PATIENCE_S = 120.0
"""How long the work may take to end what it has started, once it was told to."""


def keep(work: Callable[[], int]) -> int:
    """Do work in a child process, and kill whatever it leaves behind; Linux only.

    Processes that lose their parent become this one's children, so none gets away. Ctrl-C and SIGTERM are handed to the work
    as SIGTERM; when this process is killed, the work is told by the kernel.

    Args:
        work: Returns the exit status.

    Returns:
        The exit status; 130 after a signal.
    """
    _ask_the_kernel(PR_SET_CHILD_SUBREAPER, 1)
    pid = os.fork()
    if pid == 0:
        _ask_the_kernel(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.setsid()  # Ctrl-C comes once, from the parent
        signal.signal(signal.SIGTERM, _leave)
        os._exit(_status_of(work))
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: _tell(pid))
    status = _wait(pid)
    left = sweep()
    if left:
        print(f"{left} processes had to be killed afterwards", file=sys.stderr)
    return status


def sweep() -> int:
    """Kill every process below this one; return how many there were."""
    killed = 0
    while below := psutil.Process().children(recursive=True):
        for process in below:
            with suppress(psutil.NoSuchProcess):
                killed += process.status() != psutil.STATUS_ZOMBIE
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
    return killed


def _ask_the_kernel(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what ends the servers is not to be disturbed
    raise SystemExit(130)


def _status_of(work: Callable[[], int]) -> int:
    try:
        status = work()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - told by its trace
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _tell(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)


def _wait(pid: int) -> int:
    """Return the exit status of the work; orphans that end meanwhile are reaped on the way."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 130
