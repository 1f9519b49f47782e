"""`python -m geoloc_pipeline.training --config FILE`, alone or under torchrun.

On one machine: `python -m torch.distributed.run --standalone --nproc-per-node=N -m geoloc_pipeline.training --config FILE`.
Ends with 0 when the run is finished, 143 when it was asked to stop before, and the error's own code when it cannot go on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import cv2
import torch

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.model.backbone import WEIGHTS_VARIABLE
from geoloc_pipeline.storage.lifeline import end_with_ancestor
from geoloc_pipeline.training.loop import train
from geoloc_pipeline.training.ranks import joined_ranks
from geoloc_pipeline.training.report import reporting
from geoloc_pipeline.training.run import read_run

_log = logging.getLogger("geoloc_pipeline.training")
_ASKED_TO_STOP = 143  # what a shell says of a program that SIGTERM ended


def main(arguments: list[str] | None = None) -> int:
    """Run the training that a file describes and return the exit code."""
    parser = argparse.ArgumentParser(prog="geoloc_pipeline.training", description="Train the geolocation model.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file that describes the run")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of each process; 0: cores / processes")
    asked = parser.parse_args(arguments)
    end_with_ancestor()  # a chain that is killed must not leave a trainer behind that writes into the next one's checkpoint
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(asked.threads or max(1, (os.cpu_count() or 1) // local_world))
    cv2.setNumThreads(0)  # pictures are decoded side by side already
    try:
        run = read_run(asked.config, backbone_weights=os.environ.get(WEIGHTS_VARIABLE, ""))
        with joined_ranks() as ranks:
            heard = reporting(ranks, progress=run.progress, asset_key=run.report_to, tensorboard=run.tensorboard)
            with heard as reporter:
                return 0 if train(run, ranks, reporter).finished else _ASKED_TO_STOP
    except GeolocError as error:
        _log.error("%s", error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
