"""`geoloc serve` as a visitor meets it: cold start, stages of an answer, twenty at once; beside it one process a photo.

`python -m benchmarks.serve --home HOME PHOTO...` starts the server on a free port. All but the network's forward pass is
summed by photo, so that its median is one of photos and not of stages. The paper says 1.012 s a photo (§4) and no more.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks._measure import table

PAPER_S = 1.012
STAGES = ("decode", "preprocess", "search", "read_out", "respond")
LARGE_PX = (4032, 3024)


@contextlib.contextmanager
def serving(home: str) -> Iterator[tuple[str, float]]:
    """Yield the address of a server, and when its process was started."""
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "geoloc_pipeline.cli", "serve", "--home", home, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                yield found[0], started_s
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        print(f"(the server ended with status {process.returncode})", file=sys.stderr)


def large(photo: bytes) -> bytes:
    """Return a photo as a phone would have taken it: 12 million pixels with some noise."""
    pixels = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize(LARGE_PX, Image.Resampling.BICUBIC)).astype(int)
    noisy = np.clip(pixels + np.random.default_rng(0).integers(-5, 6, pixels.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "jpeg", quality=88)
    return stream.getvalue()


def cold(home: str, photo: bytes) -> float:
    """Return the seconds from the start of the process to the first answer."""
    with serving(home) as (address, started_s):
        httpx.post(f"{address}/api/locate", content=photo, timeout=120).raise_for_status()
        return time.perf_counter() - started_s


def warm(address: str, photos: list[bytes], n: int) -> list[dict[str, float]]:
    """Return the milliseconds by stage of n answers, one after the other, and the whole round trip."""
    told = []
    with httpx.Client(timeout=120) as client:
        for number in range(n + 5):
            started_s = time.perf_counter()
            answer = client.post(f"{address}/api/locate", content=photos[number % len(photos)])
            answer.raise_for_status()
            told.append(answer.json()["timings_ms"] | {"round trip": 1000 * (time.perf_counter() - started_s)})
    return told[5:]


def crowd(address: str, photos: list[bytes], clients: int, n: int) -> tuple[int, float, list[float]]:
    """Return faults, answers a second and seconds of each of n answers to so many clients at once."""

    def ask(number: int) -> tuple[bool, float]:
        started_s = time.perf_counter()
        answer = httpx.post(f"{address}/api/locate", content=photos[number % len(photos)], timeout=300)
        return answer.status_code == 200, time.perf_counter() - started_s

    started_s = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        told = list(pool.map(ask, range(n)))
    return sum(not good for good, _ in told), n / (time.perf_counter() - started_s), [seconds for _, seconds in told]


def one_process(home: str, photo: Path) -> float:
    """Return the seconds of `geoloc locate` on one photo."""
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "geoloc_pipeline.cli", "locate", "--home", home, "--json", str(photo)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--home", required=True)
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--clients", type=int, default=20)
    told = parser.parse_args()
    photos = [path.read_bytes() for path in told.photos]
    cold_s = [cold(told.home, photos[0]) for _ in range(3)]
    process_s = [one_process(told.home, told.photos[0]) for _ in range(3)]
    with serving(told.home) as (address, _):
        runs = {
            "photos as they are": warm(address, photos, told.n),
            "12 MP JPEG": warm(address, [large(photos[0])], told.n // 4),
        }
        faults, rate, seconds = crowd(address, photos, told.clients, 5 * told.clients)
    rows = []
    for name, answers in runs.items():
        parts = {stage: [answer[stage] for answer in answers] for stage in (*STAGES, "embed", "round trip")}
        parts["all but the forward pass"] = [sum(answer[stage] for stage in STAGES) for answer in answers]
        rows += [[name, part, *(f"{np.percentile(ms, q):.1f}" for q in (50, 95))] for part, ms in parts.items()]
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}; {told.n} answers\n")
    print(table(["photo", "stage", "p50 ms", "p95 ms"], rows))
    print()
    each = [
        ["start of the process to the first answer", f"{np.median(cold_s):.2f}", f"{max(cold_s):.2f}"],
        ["`geoloc locate`, a process a photo", f"{np.median(process_s):.2f}", f"{max(process_s):.2f}"],
        [f"{told.clients} clients at once, {faults} faults, {rate:.1f} answers a second", f"{np.median(seconds):.2f}",
         f"{max(seconds):.2f}"],
        ["the paper, a photo", f"{PAPER_S}", ""],
    ]  # fmt: skip
    print(table(["", "median s", "longest s"], each))


if __name__ == "__main__":
    main()
