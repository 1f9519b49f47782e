"""One chain a home; nobody outlives the process that they work for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.lifeline import ANCESTOR_VARIABLE, ORPHANED, hold_home

WORKER = "import time; from geoloc_pipeline.storage.lifeline import end_with_ancestor; end_with_ancestor(); time.sleep(60)"
CHAIN = f"""
import os, subprocess, sys, time
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.lifeline import hold_home
with hold_home(Home.at(sys.argv[1])) as lock:
    environment = {{**os.environ, "{ANCESTOR_VARIABLE}": str(os.getpid())}}
    subprocess.Popen([sys.executable, "-c", {WORKER!r}], pass_fds=(lock,), env=environment)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_second_chain_is_told_to_wait(tmp_path: Path) -> None:
    with hold_home(Home.at(tmp_path)), pytest.raises(SettingError, match="another run works in this home"):
        with hold_home(Home.at(tmp_path), patience_s=0.1):
            pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_home(Home.at(tmp_path), patience_s=0.1):
            pass


def test_workers_of_a_killed_chain_end_and_free_the_home(tmp_path: Path) -> None:
    chain = subprocess.Popen([sys.executable, "-c", CHAIN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert chain.stdout is not None
    assert chain.stdout.readline().strip() == "ready"
    with pytest.raises(SettingError), hold_home(Home.at(tmp_path), patience_s=0.1):
        pass
    chain.send_signal(signal.SIGKILL)
    chain.wait()
    with hold_home(Home.at(tmp_path), patience_s=20):
        pass


def test_an_orphan_says_that_nothing_is_wrong_with_the_work() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    environment = {**os.environ, ANCESTOR_VARIABLE: str(gone.pid)}
    started_s = time.monotonic()
    assert subprocess.run([sys.executable, "-c", WORKER], env=environment, check=False).returncode == ORPHANED
    assert time.monotonic() - started_s < 20
