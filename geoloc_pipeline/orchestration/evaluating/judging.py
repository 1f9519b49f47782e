"""The trial of a home: its test pictures answered, by every method, and what is known of them gathered for the judges.

Belongs here: which tables and vectors a trial needs, and where they are.
Does not belong here: what is asked (`retrieval.trial`), how it is judged (`evaluation.findings`), how it is shown (`summary`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import MissingInputError, ModelError, SplitError
from geoloc_pipeline.orchestration.io import Step, table_paths
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    DATASET_SPLITS,
    IMAGE_EMBEDDINGS,
    IMAGES,
    LABELLED_IMAGES,
    TRAINING_SHARDS,
)

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.evaluation.findings import Findings
    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.embed import Read
    from geoloc_pipeline.retrieval.reading.places import PlaceNames
    from geoloc_pipeline.retrieval.trials.trial import TrialResult

ARCHIVED = ("image_id", "source_image_id", "origin_id", "captured_at", "shard", "offset", "size_bytes")
URBAN_PER_KM2 = {"japan": 4000.0, "demo": 100.0}
"""The demo's towns are drawn wide apart: none of its blocks reaches 4,000."""


@dataclass(frozen=True)
class Judged:
    """A trial and what was found.

    Attributes:
        result: Answers of every read-out and baseline.
        findings: Their tables.
        heads: Accuracy of the heads.
        pictures: `pictures_of` the home.
        true_code: Prefecture code of where each test picture was taken.
        estimated_code: Prefecture code in which the default answer lies; None in the sea.
        towns: The town blocks.
        split_rule: `grouped`, `paper` or `mixed`.
        start_weights: Of the backbone before training, as far as they are at hand.
    """

    result: "TrialResult"
    findings: "Findings"
    heads: "pd.DataFrame"
    pictures: "pd.DataFrame"
    true_code: dict[str, str]
    estimated_code: dict[str, str | None]
    towns: Any
    split_rule: str
    start_weights: str


def judge(step: Step, inputs: dict[str, str], *, top_k: int) -> Judged:
    """Embed what the gallery does not hold, put the gallery to the test, and judge every answer.

    Args:
        step: The asset's step.
        inputs: Its upstream artefacts.
        top_k: Neighbours that a read-out sees.

    Returns:
        Answers and findings.

    Raises:
        SplitError: There are no test pictures, or no training pictures.
    """
    from geoloc_pipeline.model.saved import load_geolocator
    from geoloc_pipeline.retrieval.gallery.gallery import open_gallery
    from geoloc_pipeline.retrieval.reading.places import PlaceNames
    from geoloc_pipeline.retrieval.trials.baselines import baseline_tables, frozen_table, place_encoder
    from geoloc_pipeline.retrieval.trials.trial import Material, run_trial
    from geoloc_pipeline.storage.parquet import read_tables

    pipeline, home = step.pipeline, step.pipeline.home
    splits = read_tables(DATASET_SPLITS, table_paths(pipeline, "dataset_splits", inputs))
    split_of = dict(zip(splits["image_id"], splits["split"], strict=True))
    for side in ("test", "train"):
        if side not in set(split_of.values()):
            cure = "add pictures or prefectures, and materialise `dataset_splits` and what follows again"
            raise SplitError(
                reason=f"none of the {len(split_of)} pictures is a {side} picture: nothing can be judged", cure=cure
            )
    saved = load_geolocator(home.checkpoint())
    start_weights = _start_weights(step, dict(saved.facts.get("training_config", {})))
    asked, untrained, tokens = _embedded(step, inputs, start_weights=start_weights)
    with open_gallery(pipeline.gallery()) as gallery:
        material = Material(
            gallery=gallery,
            indexed=read_tables(IMAGE_EMBEDDINGS, table_paths(pipeline, "image_embeddings", inputs)),
            asked=asked,
            untrained=untrained,
            split_of=split_of,
            group_of=dict(zip(splits["image_id"], splits["split_group"], strict=True)),
            vocabulary=saved.vocabulary,
        )
        result = run_trial(material, top_k=top_k)
    pictures = pictures_of(home, split_of)
    chosen: dict[str, Any] = {"top_k": top_k, "settings": result.calibration.settings}
    encode = place_encoder(home.checkpoint())
    more = [
        result.estimates,
        baseline_tables(result.tested, pictures, vocabulary=saved.vocabulary, encode=encode, **chosen),
        frozen_table(tokens, places=untrained, split_of=split_of, readout=result.calibration.readout, **chosen),
    ]
    result = replace(result, estimates=joined(more))
    towns = read_tables(CENSUS_TOWNS, home.tables("census_towns"))
    true_code, estimated_code = _prefectures(result, PlaceNames(towns))
    return Judged(
        result=result,
        findings=_findings(result, pictures, estimated_code, _town_kind(towns, pipeline.profile)),
        heads=_heads(result, pictures, saved.vocabulary),
        pictures=pictures,
        true_code={query: code for query, code in true_code.items() if code is not None},
        estimated_code=estimated_code,
        towns=towns,
        split_rule=split_rule_of(home),
        start_weights=start_weights,
    )


def joined(tables: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Return several tables as one; an empty one when all are."""
    import pandas as pd

    return pd.concat([table for table in tables if len(table)] or list(tables[:1]), ignore_index=True)


def _start_weights(step: Step, training: dict[str, Any]) -> str:
    """Return with which weights the backbone began; `none` where it began fresh, or they are not at hand any more."""
    from geoloc_pipeline.model.backbone import WEIGHTS_VARIABLE
    from geoloc_pipeline.retrieval.embedding.embedder import Embedder

    told = str(training.get("backbone_weights", "none"))
    weights = told if told in {"hub", "none"} else os.environ.get(WEIGHTS_VARIABLE, "none")
    if weights == "none":
        return weights
    try:
        Embedder.load(step.pipeline.home.checkpoint(), untrained=True, start_weights=weights)
    except (ModelError, MissingInputError) as error:
        step.context.log.warning("the backbone's pretrained weights are not at hand, the baselines begin fresh: %s", error)
        return "none"
    return weights


def _embedded(step: Step, inputs: dict[str, str], *, start_weights: str) -> "tuple[Read, pd.DataFrame, pd.DataFrame]":
    """Return what the model says of validation and test pictures; and of all pictures, vectors and tokens before training.

    What a killed evaluation had embedded by the untrained network is taken over from its scratch folders.
    """
    from geoloc_pipeline.retrieval.embedding.embed import embed_partition, join_reads, read_shards
    from geoloc_pipeline.retrieval.embedding.finished import remove_scratch
    from geoloc_pipeline.storage.parquet import read_table

    home = step.pipeline.home
    asked, untrained, tokens, scratches = [], [], [], []
    for path in table_paths(step.pipeline, "training_shards", inputs):
        shards, folder = read_table(TRAINING_SHARDS, path), home.images("training_shards", path.stem)
        asked.append(read_shards(home.checkpoint(), shards, folder, progress=step.progress))
        scratches.append(home.embedding_scratch(f"untrained-{path.stem}"))
        embedded = embed_partition(
            home.checkpoint(),
            shards,
            folder,
            scratch=scratches[-1],
            splits=("train", "val", "test"),
            untrained=True,
            start_weights=start_weights,
            tokens=True,
            progress=step.progress,
        )
        untrained.append(embedded.embeddings)
        tokens += [] if embedded.tokens is None else [embedded.tokens]
    for scratch in scratches:
        remove_scratch(scratch)
    return join_reads(asked), joined(untrained), joined(tokens)


def pictures_of(home: Home, split_of: dict[str, str]) -> "pd.DataFrame":
    """Return what is known of every picture that has a side of the split.

    Args:
        home: The home.
        split_of: Side of each picture.

    Returns:
        One row a picture, with `findings.PICTURE_COLUMNS`, the columns `ARCHIVED` of the archive, and the folder of its shard.
    """
    import pandas as pd

    from geoloc_pipeline.storage.parquet import read_table, read_tables

    labelled = read_tables(LABELLED_IMAGES, home.tables("labelled_images")).drop_duplicates("image_id")
    archived = []
    for contract in IMAGES:
        for path in home.tables(contract.name):
            frame = pd.DataFrame(read_table(contract, path)[list(ARCHIVED)])
            archived.append(frame.assign(folder=home.images(contract.name, path.stem)))
    bytes_of = pd.concat(archived, ignore_index=True) if archived else pd.DataFrame(columns=[*ARCHIVED, "folder"])
    pictures = labelled.merge(bytes_of.drop_duplicates("image_id"), on="image_id", how="left")
    pictures["split"] = pictures["image_id"].map(split_of)
    pictures["day"] = pd.to_datetime(pictures["captured_at"], utc=True).dt.strftime("%Y-%m-%d")
    return pd.DataFrame(pictures[pictures["split"].notna()].reset_index(drop=True))


def split_rule_of(home: Home) -> str:
    """Return by which rule the home's pictures were split: `grouped`, `paper`, `mixed`, or `unknown`."""
    receipts = [read_receipt(path) for path in sorted(home.receipt("dataset_splits").parent.glob("*.json"))]
    rules = {receipt.inputs.get("split", {}).get("rule", "unknown") for receipt in receipts if receipt}
    return next(iter(rules)) if len(rules) == 1 else "mixed" if rules else "unknown"


def _prefectures(result: "TrialResult", places: "PlaceNames") -> "list[dict[str, str | None]]":
    """Return the prefectures in which the test pictures were taken, and those in which the default answers lie."""
    mine = result.estimates[result.estimates["readout"] == result.calibration.readout]
    return [
        _codes(mine, places.table_at(lat=mine[lat], lon=mine[lon])["prefecture_code"])
        for lat, lon in (("true_lat", "true_lon"), ("lat", "lon"))
    ]


def _findings(
    result: "TrialResult", pictures: "pd.DataFrame", estimated_code: dict[str, str | None], town_kind: dict[str, str]
) -> "Findings":
    from geoloc_pipeline.evaluation.findings import Evidence, find

    return find(
        Evidence(
            estimates=result.estimates,
            default=result.calibration.readout,
            pictures=pictures,
            query_id=list(result.tested.image_id),
            found_lat=result.found.lat,
            found_lon=result.found.lon,
            found_score=result.found.score,
            gate=result.found.gate,
            estimated_code=estimated_code,
            town_kind=town_kind,
            one_view=result.one_view,
            confidence=result.confidence,
        )
    )


def _codes(estimates: "pd.DataFrame", codes: "pd.Series[str]") -> dict[str, str | None]:
    return {query: code if isinstance(code, str) else None for query, code in zip(estimates["query_id"], codes, strict=True)}


def _town_kind(towns: Any, profile: str) -> dict[str, str]:
    from geoloc_pipeline.evaluation.areas import urban_towns

    return urban_towns(towns, urban_per_km2=URBAN_PER_KM2[profile]) if len(towns) else {}


def _heads(result: "TrialResult", pictures: "pd.DataFrame", vocabulary: "Vocabulary") -> "pd.DataFrame":
    """Return the heads' accuracy on whole test pictures."""
    import pandas as pd

    from geoloc_pipeline.evaluation.figures import place_of
    from geoloc_pipeline.evaluation.heads import head_table
    from geoloc_pipeline.model.vocabulary import CODE_COLUMNS

    tested = result.tested
    if not tested.heads:
        return pd.DataFrame()
    rows = pictures.set_index("image_id").reindex(tested.image_id)
    return head_table(
        {task: tops.index for task, tops in tested.heads.items()},
        truth={task: vocabulary.tasks[task].indices(rows[CODE_COLUMNS[task]]) for task in tested.heads},
        n_classes={task: tops.n_classes for task, tops in tested.heads.items()},
        place=place_of(lat=tested.lat, lon=tested.lon),
    )
