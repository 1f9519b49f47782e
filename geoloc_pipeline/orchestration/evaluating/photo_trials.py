"""Public test sets in an evaluation: found in their folders, asked of the trained model, told as tracks of their own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.sources.photo_test_sets import PhotoTestSet, named_test_set
from geoloc_pipeline.storage.receipts import file_hash

if TYPE_CHECKING:
    from geoloc_pipeline.evaluation.report import PhotoTrialFigures
    from geoloc_pipeline.orchestration.evaluating.judging import Judged

SHOWN = ("centroid", "nearest")
"""Beside the default read-out: the paper's, and the simplest."""


def wanted_test_sets(pipeline: Pipeline, names: list[str]) -> dict[str, tuple[PhotoTestSet, Path]]:
    """Return the test sets that are wanted, and where their files are, before any work is done for them.

    Args:
        pipeline: Where everything is.
        names: Keys of `sources.photo_test_sets.TEST_SETS`.

    Raises:
        SettingError: There is no such set.
        MissingInputError: Its folder is missing or empty; the cure says what to fetch.
    """
    found = {}
    for name in names:
        test_set = named_test_set(name)
        folder = _folder_of(pipeline, test_set)
        if not folder.is_dir() or not any(folder.iterdir()):
            cure = test_set.how_to_obtain.format(folder=folder)
            raise MissingInputError(what=f"the test set {test_set.title}", path=folder, cure=cure)
        found[name] = test_set, folder
    return found


def beside_of(other_summary: str, folders: dict[str, tuple[PhotoTestSet, Path]]) -> dict[str, Any]:
    """Return what the report is made of beside the home's own artefacts: it is made anew when that changes.

    Args:
        other_summary: Path of another home's summary; empty: none.
        folders: From `wanted_test_sets`; names and sizes of what lies in them, not their bytes, are looked at.
    """
    path = Path(other_summary)
    found: dict[str, Any] = {
        name: {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir())} for name, (_, folder) in folders.items()
    }
    if other_summary:
        found["other_summary"] = file_hash(path) if path.is_file() else other_summary
    return found


def _folder_of(pipeline: Pipeline, test_set: PhotoTestSet) -> Path:
    """Return the set's folder: where the user placed it, else where the demo world publishes small ones."""
    from geoloc_pipeline.orchestration.world import ensure_world

    own = pipeline.home.photo_set(test_set.folder)
    if pipeline.profile == "demo" and not own.is_dir():
        return ensure_world(pipeline.home)[0] / "photos" / test_set.folder
    return own


def run_test_sets(
    pipeline: Pipeline, judged: "Judged", folders: dict[str, tuple[PhotoTestSet, Path]]
) -> "list[PhotoTrialFigures]":
    """Return what the wanted test sets give.

    Args:
        pipeline: Where everything is.
        judged: The trial of the home's own test pictures: it tells what training and gallery hold, and how answers are read.
        folders: From `wanted_test_sets`.

    Raises:
        BadSourceFileError: A list or an archive of a set cannot be read.
    """
    from geoloc_pipeline.evaluation.report import PhotoTrialFigures
    from geoloc_pipeline.retrieval.embedding.embedder import Embedder
    from geoloc_pipeline.retrieval.gallery.gallery import open_gallery
    from geoloc_pipeline.retrieval.reading.places import PlaceNames
    from geoloc_pipeline.retrieval.trials.photos import Held, evaluate_photos

    if not folders:
        return []
    calibration, told = judged.result.calibration, []
    embedder, places = Embedder.load(pipeline.home.checkpoint()), PlaceNames(judged.towns)
    with open_gallery(pipeline.gallery()) as gallery:
        for test_set, folder in folders.values():
            trial = evaluate_photos(
                test_set.read(folder),
                embedder=embedder,
                gallery=gallery,
                calibration=calibration,
                names=places,
                held=Held.of(judged.pictures[judged.pictures["split"] != "test"]),
                top_k=pipeline.settings.top_k,
            )
            shown = trial.estimates[trial.estimates["readout"].isin([calibration.readout, *SHOWN])]
            told.append(
                PhotoTrialFigures(
                    name=test_set.title,
                    about=test_set.about,
                    listed=trial.listed,
                    left_out=trial.left_out,
                    estimates=shown.reset_index(drop=True),
                    default_readout=calibration.readout,
                )
            )
    return told
