"""Training's reading: from a shard on disk to a batch of 448-px views, and to crops of 224 px.

python -m benchmarks.reading [--rounds 8] [--photos ../shared/data/photos/lund]
Views are the demo's (drawn panoramas, archived and cut by the pipeline) and photographs, where there are any: each cut into
tiles of 448 px, archived at WebP quality 90 and cut again as training shards are, so encoded twice, as in life.
All on one core, processor time.
`to the batch`: `Squares`, as training calls it: read by offset, decode, into a batch whose memory is used again, as torch's
page-locked memory is (on a CPU it is new for each large batch, and its pages cost more).
`crop`: a random crop of 8 to 100 % of the area, brought to 224 px by OpenCV; training itself crops and shears whole batches
where it learns (`training.augment`). `Pillow` decodes the same views; `whole panorama` decodes the archived strip of 2560x640
with OpenCV, of which a step then looks at one view.
Ahead of training: batches of 64 on the clock, by the threads of `training.dataset.batches` and by as many processes of torch's
DataLoader over the same squares; their start is not counted.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks._measure import cost_of, table
from benchmarks.archive import panoramas
from geoloc_pipeline.imagery.panorama import views_from_panorama
from geoloc_pipeline.imagery.webp import encode_webp
from geoloc_pipeline.labels.shards import views_of
from geoloc_pipeline.model.vocabulary import CODE_COLUMNS, TaskClasses, Vocabulary
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import TASKS
from geoloc_pipeline.training.dataset import Squares, batches

SIDE_PX, CROP_PX, BATCH = 448, 224, 64
VIEWS = 192  # of each kind at most
WORKERS = (1, 2)


def archived_demo():
    strips = (views_from_panorama(panorama, compass_deg=0.0, side_px=640) for panorama in panoramas())
    return [(encode_webp(strip, lat=26.2, lon=127.7), "NESW") for strip in strips]


def archived_photos(folder):
    tiles = []
    for path in sorted(folder.glob("*.jpg")):
        photo = np.asarray(Image.open(path).convert("RGB"))
        for top in range(0, photo.shape[0] - SIDE_PX + 1, SIDE_PX):
            for left in range(0, photo.shape[1] - SIDE_PX + 1, SIDE_PX):
                tiles.append(np.ascontiguousarray(photo[top : top + SIDE_PX, left : left + SIDE_PX]))
    chosen = [tiles[number] for number in np.linspace(0, len(tiles) - 1, min(VIEWS, len(tiles))).astype(int)]
    return [(encode_webp(tile, lat=55.7, lon=13.2), "photo") for tile in chosen]


def shard_of(archived, folder):
    """Write the views of archived pictures as one training shard; returns the views' bytes and the squares."""
    views = [
        (number, view)
        for number, (data, letters) in enumerate(archived)
        for view in views_of(data, letters, side_px=SIDE_PX, image=str(number))
    ]
    members = write_shard(folder / "00000.tar", ((f"{number}.{view.name}.webp", view.webp) for number, view in views))
    rows = pd.DataFrame(
        {
            "image_id": [str(number) for number, _ in views], "lat": 35.0, "lon": 139.0, "folder": 0,
            **dict.fromkeys(CODE_COLUMNS.values(), ""),
            "width_px": [view.width_px for _, view in views], "height_px": [view.height_px for _, view in views],
            "shard": [member.shard for member in members], "offset": [member.offset for member in members],
            "size_bytes": [member.size_bytes for member in members],
        }
    )  # fmt: skip
    vocabulary = Vocabulary(tasks={task: TaskClasses() for task in TASKS})
    return [view.webp for _, view in views], Squares(rows, vocabulary, [folder], side_px=SIDE_PX)


def random_crops(pixels, dice):
    """OpenCV's way of torchvision's RandomResizedCrop, picture by picture."""
    crops = np.empty((len(pixels), CROP_PX, CROP_PX, 3), dtype=np.uint8)
    for place, picture in enumerate(pixels):
        area, shape = dice.uniform(0.08, 1.0), np.exp(dice.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = (min(SIDE_PX, round(SIDE_PX * np.sqrt(share))) for share in (area * shape, area / shape))
        left, top = dice.integers(0, SIDE_PX - width + 1), dice.integers(0, SIDE_PX - height + 1)
        # bilinear: a crop shrinks by two at most, so no pixel is passed over
        cv2.resize(picture[top : top + height, left : left + width], (CROP_PX, CROP_PX), dst=crops[place])
    return crops


def on_one_core(name, archived, rounds):
    with tempfile.TemporaryDirectory() as folder:
        encoded, squares = shard_of(archived, Path(folder))
        numbers = np.resize(np.random.default_rng(0).permutation(len(squares)), (max(1, len(squares) // BATCH), BATCH))

        batch = squares.blank(numbers[0])

        def read():
            for row in numbers:
                squares.fill(batch.pixels, row)

        def pillow():
            for data in encoded:
                np.asarray(Image.open(io.BytesIO(data)))

        def whole():
            for data, _ in archived:
                cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)

        read()
        views = batch.pixels.permute(0, 2, 3, 1).numpy()
        dice = np.random.default_rng(0)
        ways = ((read, numbers.size), (lambda: random_crops(views, dice), len(views)), (pillow, len(encoded)))
        ways += ((whole, len(archived)),) if archived[0][1] == "NESW" else ()
        turns = [[cost_of(way).cpu_s / count * 1e3 for way, count in ways] for _ in range(rounds)]  # noise meets all alike
        ours, crop, beside, *panorama = np.min(turns, axis=0)
        clock = [f"{per_second(way, squares, numbers, n):.0f}" for n in WORKERS for way in (by_threads, by_processes)]
    size_kb = np.mean([len(data) for data in encoded]) / 1e3
    total = ours + crop
    row = [name, len(encoded), f"{size_kb:.1f}", f"{ours:.2f}", f"{crop:.2f}", f"{total:.2f}", f"{total:.1f}", f"{beside:.2f}"]
    return [*row, f"{panorama[0]:.1f}" if panorama else ""], [name, *clock]


def by_processes(squares, steps, *, workers):
    return DataLoader(
        squares, batch_sampler=[row.tolist() for row in steps], num_workers=workers, collate_fn=lambda batch: batch
    )


def by_threads(squares, steps, *, workers):
    return batches(squares, steps, workers=workers, pin=False)


def per_second(way, squares, numbers, workers):
    """Views a second on the clock; the first batches fill the queue and do not count, nor do as many at the end."""
    warm = 2 * workers + 2
    steps = np.resize(numbers, (2 * warm + 10, BATCH))
    moments = [time.perf_counter() for _ in way(squares, steps, workers=workers)]
    return 10 * BATCH / (moments[warm + 10 - 1] - moments[warm - 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="how often each way is measured; the best counts")
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos/lund"), help="a folder of JPEG photographs")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    kinds = {"demo": archived_demo()}
    if options.photos.is_dir():
        kinds["photographs"] = archived_photos(options.photos)
    alone, clocks = zip(*(on_one_core(name, archived, options.rounds) for name, archived in kinds.items()), strict=True)
    columns = ["448-px views", "number", "kB", "to the batch ms", "crop ms", "both ms", "cores for 1,000/s", "Pillow ms"]
    print(table([*columns, "whole panorama ms"], alone) + "\n")
    print(table(["views/s", *(f"{n} {way}" for n in WORKERS for way in ("threads", "processes"))], clocks))


if __name__ == "__main__":
    main()
