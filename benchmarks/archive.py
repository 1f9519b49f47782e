"""The archive beside the codec alone, beside plain NumPy and beside tarfile: writing, cutting views, reading by id.

python -m benchmarks.archive [--rounds 5]
Pictures are the demo's, cut from drawn panoramas by the collector's own `views_from_panorama`; they are kept in the folder for
temporary files, where a second run finds them.
Writing: the collector's encoding (WebP with the place in EXIF), SHA-256 and the tar shard with its fsync, two threads, against
two threads that do nothing but let Pillow (libwebp) encode the same pixels with the same quality and method.
Reading: 100,000 pictures of 16 kB in shards of 1,000, all in the page cache: what is measured is ours, not the disk's.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks._measure import cost_of, table
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.pictures import Renderer
from geoloc_pipeline.demo.render import Camera
from geoloc_pipeline.imagery.panorama import views_from_panorama
from geoloc_pipeline.imagery.webp import METHOD, QUALITY, encode_webp
from geoloc_pipeline.storage.archive import PictureArchive
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shards import write_shard

THREADS = 2
PANORAMAS = 12
PANORAMA_PX = 2560
STRIPS_PX = {256: 240, 640: 48}  # side of a view: how many strips a round
LEANING = {"level": {}, "tilted": {"pitch_deg": 3.0, "roll_deg": -2.0}}
PICTURES, SHARD_PICTURES, PICTURE_BYTES = 100_000, 1_000, 16_000
LOOKED_UP = 2_000


def panoramas() -> list[np.ndarray]:
    """Return drawn panoramas of 2560x1280, from the folder for temporary files if they are there."""
    folder = Path(tempfile.gettempdir()) / "geoloc_benchmark_panoramas"
    folder.mkdir(exist_ok=True)
    renderer, land = None, None
    drawn = []
    for number in range(PANORAMAS):
        path = folder / f"{PANORAMA_PX}-{number:02d}.png"
        if not path.exists():
            land = land or grow_land(seed=3, prefecture_codes=("47",), density=0.05)
            renderer = renderer or Renderer(land)
            road = land.roads[len(land.roads) * number // PANORAMAS]
            lon, lat = road.lonlat[len(road.lonlat) // 2]
            moment = land.published_at - timedelta(days=30 * number)
            camera = Camera(float(lat), float(lon), 30.0 * number, moment, number)
            Image.fromarray(renderer(camera, True, PANORAMA_PX)).save(path.with_suffix(".part"), "PNG", compress_level=1)
            path.with_suffix(".part").replace(path)
        drawn.append(np.asarray(Image.open(path).convert("RGB")))
    return drawn


def codec_alone(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=QUALITY, method=METHOD)
    return stream.getbuffer().nbytes


def encode_all(strips, count):
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(lambda number: codec_alone(strips[number % len(strips)]), range(count)))


def archive_all(strips, count, path):
    def archived(number):
        data = encode_webp(strips[number % len(strips)], lat=26.2 + number * 1e-4, lon=127.7)
        return f"{hashlib.sha256(data).hexdigest()[:16]}.webp", data

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(member.size_bytes for member in write_shard(path, pool.map(archived, range(count))))


def writing(drawn, rounds):
    """Both sides take turns, so that what else runs on the machine meets both; the best of each counts."""
    rows = []
    for side_px, count in STRIPS_PX.items():
        strips = [views_from_panorama(panorama, compass_deg=0.0, side_px=side_px) for panorama in drawn]
        with tempfile.TemporaryDirectory() as folder:
            alone, ours = [], []
            for number in range(rounds):
                alone.append(cost_of(lambda: encode_all(strips, count)))  # noqa: B023 - called at once
                ours.append(cost_of(lambda: archive_all(strips, count, Path(folder) / f"{number}.tar")))  # noqa: B023
        size_kb = ours[0].result / count / 1e3
        best = [min(cost.wall_s for cost in side) / count for side in (alone, ours)]
        spent = [min(cost.cpu_s for cost in side) / count for side in (alone, ours)]
        rows.append(
            [
                f"{4 * side_px}x{side_px}", f"{size_kb:.0f}", f"{1 / best[0]:.1f}", f"{1 / best[1]:.1f}",
                f"{best[0] / best[1]:.2f}", f"{spent[0] * 1e3:.1f}", f"{spent[1] * 1e3:.1f}", f"{spent[0] / spent[1]:.2f}",
            ]
        )  # fmt: skip
    return rows


def plain_views(pixels, compass_deg, side, pitch_deg=0.0, roll_deg=0.0):
    """Plain NumPy: a ray for every pixel, four neighbours read, weighted and summed."""
    height, width = pixels.shape[:2]
    heading, pitch, roll = np.radians([compass_deg, pitch_deg, roll_deg])
    tangent = (np.arange(side) + 0.5) / side * 2 - 1
    right, down = np.meshgrid(tangent, tangent)
    views = []
    for direction in np.radians([0, 90, 180, 270]):
        turned = direction - heading
        x, y, z = np.sin(turned) + right * np.cos(turned), np.cos(turned) - right * np.sin(turned), -down
        y, z = y * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - y * np.sin(pitch)
        x, z = x * np.cos(roll) - z * np.sin(roll), z * np.cos(roll) + x * np.sin(roll)
        u = (np.arctan2(x, y) / (2 * np.pi) + 0.5) * width - 0.5
        v = np.clip((0.5 - np.arctan2(z, np.hypot(x, y)) / np.pi) * height - 0.5, 0, height - 1)
        left, top = np.floor(u).astype(int), np.floor(v).astype(int)
        across, along = (u - left)[..., None], (v - top)[..., None]
        below, next_to = np.minimum(top + 1, height - 1), (left + 1) % width
        left %= width
        upper = pixels[top, left] * (1 - across) + pixels[top, next_to] * across
        lower = pixels[below, left] * (1 - across) + pixels[below, next_to] * across
        views.append((upper * (1 - along) + lower * along + 0.5).astype(np.uint8))
    return np.hstack(views)


def reprojection(drawn, rounds):
    rows = []
    for name, leaning in LEANING.items():

        def ours(leaning=leaning):
            return views_from_panorama(drawn[0], compass_deg=77.0, side_px=640, **leaning)

        def plain(leaning=leaning):
            return plain_views(drawn[0], 77.0, 640, **leaning)

        ours()  # the maps of a level strip are kept, as they are for all of a run's pictures
        mine, theirs = cost_of(ours, best_of=4 * rounds), cost_of(plain, best_of=rounds)
        apart = np.abs(mine.result.astype(int) - theirs.result)
        times = theirs.cpu_s / mine.cpu_s
        rows.append([name, f"{mine.cpu_s * 1e3:.1f}", f"{theirs.cpu_s * 1e3:.0f}", f"{times:.1f}", f"{apart.mean():.2f}"])
    return rows


def archive_of_many(root):
    """Write 100,000 pictures of random bytes as one partition and return its home and ids."""
    home, noise = Home.at(root), np.random.default_rng(0).bytes(PICTURE_BYTES + PICTURES)
    rows = []
    for first in range(0, PICTURES, SHARD_PICTURES):
        pictures = [(f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}", number) for number in range(first, first + SHARD_PICTURES)]
        contents = {image_id: noise[number : number + PICTURE_BYTES] for image_id, number in pictures}
        path = home.images("street_view_images", "47") / f"{first // SHARD_PICTURES:05d}.tar"
        members = write_shard(path, ((f"{image_id}.webp", data) for image_id, data in contents.items()))
        for member, (image_id, data) in zip(members, contents.items(), strict=True):
            rows.append((image_id, hashlib.sha256(data).hexdigest(), member.shard, member.offset, member.size_bytes))
    names = ["image_id", "sha256", "shard", "offset", "size_bytes"]
    path = home.table("street_view_images", "47")
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(dict(zip(names, zip(*sorted(rows), strict=True), strict=True))), path)
    return home, [row[0] for row in rows]


def access():
    root = Path(tempfile.mkdtemp())
    try:
        home, ids = archive_of_many(root)
        started = time.perf_counter()
        archive = PictureArchive.open(home)
        opened_s = time.perf_counter() - started
        chosen = np.random.default_rng(1).choice(ids, LOOKED_UP, replace=False).tolist()

        def by_name(image_id):
            with tarfile.open(archive.find(image_id).shard) as tar:
                return tar.extractfile(f"{image_id}.webp").read()

        ways = (
            ("find", archive.find, chosen),
            ("read", lambda image_id: archive.read(image_id, check=False), chosen),
            ("read, SHA-256 checked", archive.read, chosen),
            ("tarfile, told the shard, by name", by_name, chosen[:60]),
        )
        rows = []
        for name, way, some in ways:
            seconds = []
            for image_id in some:
                started = time.perf_counter()
                way(image_id)
                seconds.append(time.perf_counter() - started)
            rows.append([name, *(f"{np.percentile(seconds, q) * 1e3:.3f}" for q in (50, 99))])
    finally:
        shutil.rmtree(root)
    return opened_s, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is measured")
    options = parser.parse_args()
    drawn = panoramas()
    columns = ["strip", "kB", "codec/s", "archive/s", "ratio", "codec CPU ms", "archive CPU ms", "ratio of CPU"]
    print(table(columns, writing(drawn, options.rounds)) + "\n")
    columns = ["2560x1280 to 4 x 640", "ours CPU ms", "NumPy CPU ms", "times", "mean difference of 0 to 255"]
    print(table(columns, reprojection(drawn, options.rounds)) + "\n")
    opened_s, rows = access()
    print(table([f"one of {PICTURES:,} by id", "median ms", "99 % ms"], rows))
    print(f"\nopened in {opened_s:.2f} s")


if __name__ == "__main__":
    main()
