"""Runs every benchmark, one after the other; those whose packages are not installed are named and left out."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDS = {"cluster_demo": "ray", "launcher": "ray"}

for script in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    print(f"\n## {script.stem}", flush=True)
    if (package := NEEDS.get(script.stem)) and find_spec(package) is None:
        print(f"left out: pip install 'geoloc-pipeline[{package}]'", flush=True)
        continue
    subprocess.run([sys.executable, "-m", f"benchmarks.{script.stem}"], check=True)
