"""The picture of the paper's fig. 5: views as they are, and what the augmentation makes of each of them.

What is shown went through the very functions that the training loop calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from geoloc_pipeline.model.preprocess import cut_square, resize_square
from geoloc_pipeline.training.augment import augment, draw_augmentation
from geoloc_pipeline.training.material import read_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.run import TrainingRun

_GAP_PX = 2
_WHITE = 255
_FIVE_BITS = 0xF8


def draw_augmented(views: Sequence[NDArray[np.uint8]], config: TrainingConfig, *, columns: int = 6) -> NDArray[np.uint8]:
    """Return a grid: a row for each view, first as the network would see it unaugmented, then in different augmentations.

    Args:
        views: `[height, width, 3]` RGB of any size; of one that is not square, its first square is shown.
        config: Of the run; its seed decides, so the same views give the same picture.
        columns: Cells in a row, the unaugmented one among them; at least 1.

    Returns:
        `[height, width, 3]` RGB; cells of `input_px` with thin white gaps between them. Without views it has no rows.
    """
    squares = [cut_square(view, 0) for view in views]
    cells = [[resize_square(square, config.input_px)] for square in squares]
    if squares and columns > 1:
        repeated = np.stack([resize_square(square, config.view_px) for square in squares for _ in range(columns - 1)])
        draw = draw_augmentation(config, len(repeated), epoch=0, step=0)
        noise = torch.Generator().manual_seed(config.seed)
        changed = augment(torch.from_numpy(repeated).permute(0, 3, 1, 2), draw, config, noise=noise)
        for number, cell in enumerate(changed.to(torch.uint8).permute(0, 2, 3, 1).numpy()):
            cells[number // (columns - 1)].append(cell)
    pitch = config.input_px + _GAP_PX
    grid = np.full((max(0, len(cells) * pitch - _GAP_PX), columns * pitch - _GAP_PX, 3), _WHITE, dtype=np.uint8)
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            grid[row * pitch : row * pitch + config.input_px, column * pitch : column * pitch + config.input_px] = cell
    return grid


def preview_run(run: TrainingRun, *, rows: int = 3, columns: int = 5, longest_px: int = 330) -> bytes:
    """Return a PNG of how a run sees some of its training views, evenly spread over them.

    Args:
        run: What is or was learned.
        rows: Views.
        columns: Cells for each.
        longest_px: Of the picture, which travels inside an event log: the default makes about 60 kB.

    Returns:
        PNG bytes, the same for the same shards and seed.

    Raises:
        SplitError: There is no training view.
        MissingInputError: A shard is gone.
        BadSourceFileError: A shard is cut short.
    """
    train = read_data(run.vocabulary, run.shards, config=run.config).train
    numbers = np.unique(np.linspace(0, len(train) - 1, rows).astype(np.int64))
    views = [train[int(number)].pixels[0].permute(1, 2, 0).numpy() for number in numbers]
    return encode(draw_augmented(views, run.config, columns=columns), longest_px=longest_px)


def encode(picture: NDArray[np.uint8], *, longest_px: int) -> bytes:
    """Return `[height, width, 3]` RGB as a small PNG.

    Args:
        picture: At least one pixel.
        longest_px: It is made smaller where its longer side is above this.

    Returns:
        PNG bytes, of 5 bits a channel: half of the bytes, and a preview loses nothing by it.
    """
    share = longest_px / max(picture.shape[:2])
    if share < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    few = cv2.cvtColor(picture & _FIVE_BITS, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", few, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
