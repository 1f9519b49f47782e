"""Loading the `mapillary` package, which makes a folder for logs inside itself."""

from __future__ import annotations

import subprocess
import sys


def test_two_processes_of_a_fresh_installation_may_make_the_packages_log_folder_at_once():
    """The other process makes the folder between this one's look and its own making of it."""
    program = """
import os
from geoloc_pipeline.sources import mapillary

make, raced = os.makedirs, []

def too_late(path, *arguments, **options):
    if str(path).endswith("logs") and not raced:
        raced.append(path)
        raise FileExistsError(17, "File exists", path)
    return make(path, *arguments, **options)

os.makedirs = too_late
look = os.path.exists
os.path.exists = lambda path: (bool(raced) or not str(path).endswith("logs")) and look(path)
entities, tiles = mapillary._api()
assert raced and entities and tiles
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
