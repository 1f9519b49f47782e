"""A home on object storage beside one in a folder: reading for training, and scanning tables.

python -m benchmarks.object_storage [--rounds 5]
The storage is moto's S3 server on loopback, in a process of its own on the same cores: what it takes is part of the clock.
Views are the demo's, as training shards hold them; read in a shuffled order and decoded, as training does.
`ranges`: a working copy without shards reads each view by a range of its object. `brought`: once the shards were brought.
A table is read whole for the first time on a node (brought, checked against its hash, read), and again.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pandas as pd

from benchmarks._measure import table
from benchmarks.reading import archived_demo, shard_of
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.storage.shared import home_at, shared_home
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS
from geoloc_pipeline.training.dataset import Squares, batches

KEY, BATCH, WORKERS, ROWS = "47_okinawa", 64, 8, 20_000
BUCKET = "homes"


@contextmanager
def s3_server() -> Iterator[int]:
    """Yield the port of an S3 server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            urlopen(f"http://127.0.0.1:{port}/").close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the S3 server does not start")


def vectors(rows: int) -> pd.DataFrame:
    """Return a table of vectors, the largest kind of table there is."""
    chance = np.random.default_rng(0)
    found: dict[str, object] = {}
    for column in IMAGE_EMBEDDINGS.columns:
        if column.size:
            found[column.name] = list(chance.standard_normal((rows, column.size)).astype(np.float16))
        elif column.among:
            found[column.name] = column.among[0]
        elif column.kind == "string":
            found[column.name] = [f"{column.name}{number:08d}" for number in range(rows)]
        else:
            found[column.name] = np.zeros(rows)
    return pd.DataFrame(found)


def publish(home: Home, folder: Path) -> None:
    """Put the shard and the table into a home, as their steps would."""
    images = home.images("training_shards", KEY)
    images.mkdir(parents=True, exist_ok=True)
    (images / "00000.tar").write_bytes((folder / "00000.tar").read_bytes())
    note = home.root / "note"
    note.write_text("x")
    write_receipt(home.receipt("training_shards", KEY), inputs={}, files=[note], bulk=[images / "00000.tar"], root=home.root)
    write_table(IMAGE_EMBEDDINGS, vectors(ROWS), home.table("image_embeddings", KEY))
    files = [home.table("image_embeddings", KEY)]
    write_receipt(home.receipt("image_embeddings", KEY), inputs={}, files=files, root=home.root)
    if shared := shared_home(home):
        shared.publish("training_shards", KEY)
        shared.publish("image_embeddings", KEY)


def views_per_s(squares: Squares, folder: Path) -> float:
    """Return how many views come out of batches in a shuffled order."""
    squares._folders = (folder,)
    order = np.random.default_rng(1).permutation(len(squares))
    rows = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    began = time.monotonic()
    count = sum(len(batch.pixels) for batch in batches(squares, rows, workers=WORKERS, pin=False))
    return count / (time.monotonic() - began)


def scan_s(home: Home) -> float:
    began = time.monotonic()
    read_table(IMAGE_EMBEDDINGS, home.table("image_embeddings", KEY))
    return time.monotonic() - began


def measure(port: int, rounds: int) -> list[list[object]]:
    """Return the rows of the table: what is read, from a folder, from object storage, and how much slower that is."""
    import boto3

    os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _, squares = shard_of(archived_demo(), folder)
        plain, maker = Home.at(folder / "plain"), home_at(f"s3://{BUCKET}/h", {"GEOLOC_WORKING_COPIES": str(folder / "maker")})
        publish(plain, folder)
        publish(maker, folder)
        found: dict[str, list[tuple[float, float]]] = {}
        for number in range(rounds):
            fresh = home_at(f"s3://{BUCKET}/h", {"GEOLOC_WORKING_COPIES": str(folder / f"node{number}")})
            shared = shared_home(fresh)
            assert shared is not None
            shared.refresh()
            images = ("training_shards", KEY)
            pairs = {
                "views a second, by ranges": [partial(views_per_s, squares, home.images(*images)) for home in (plain, fresh)],
                "a table, the first time on a node, s": [partial(scan_s, home) for home in (plain, fresh)],
                "a table, again, s": [partial(scan_s, home) for home in (plain, fresh)],
            }
            for name, (here, there) in pairs.items():
                found.setdefault(name, []).append((here(), there()))
            shared.fetch("training_shards", KEY, shards=True)
            brought = (views_per_s(squares, plain.images(*images)), views_per_s(squares, fresh.images(*images)))
            found.setdefault("views a second, brought", []).append(brought)
    rows = []
    for name, pairs_of in found.items():
        here, there = (statistics.median(column) for column in zip(*pairs_of, strict=True))
        slower = here / there if "a second" in name else there / here
        rows.append([name, f"{here:,.3g}", f"{there:,.3g}", f"{slower:.2f}"])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with s3_server() as port:
        rows = measure(port, chosen.rounds)
    print(table(["", "a folder", "S3 on loopback", "times as long"], rows))


if __name__ == "__main__":
    main()
