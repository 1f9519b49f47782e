"""Group `labels`: what can be said of a picture's place, who learns from it, and what training reads."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from geoloc_pipeline.geo.prefectures import BY_CODE, BY_KEY, neighbours_of
from geoloc_pipeline.orchestration.assets.imagery import photo_collections, street_view_images
from geoloc_pipeline.orchestration.assets.osm import census_towns
from geoloc_pipeline.orchestration.checks import drift_check, drifted
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, sheet, table_paths, write_tables
from geoloc_pipeline.orchestration.partitions import every_photo_set, prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.layout import WHOLE
from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    DATASET_SPLITS,
    LABEL_VOCABULARY,
    LABELLED_IMAGES,
    OSM_LANDMARKS,
    OSM_ROADS,
    PHOTO_COLLECTIONS,
    REJECTED,
    SPLITS,
    STREET_VIEW_IMAGES,
    TRAINING_SHARDS,
)

if TYPE_CHECKING:
    import pandas as pd

PHOTOS = dg.AssetDep(photo_collections, partition_mapping=every_photo_set)


CLASSES = "classes_are_not_lost"
CLASSES_LOST_SHARE = 0.1
"""Share of the classes that may vanish between two runs; more is more than a week of mapping takes away."""


class SplitConfig(dg.Config):
    """How pictures are dealt to train, val and test."""

    rule: Literal["grouped", "paper"] = Field(
        default="grouped", description="grouped: whole capture groups and places on one side; paper: by image, to reproduce it"
    )
    seed: int = Field(default=0, description="another seed deals anew")


class VocabularyConfig(dg.Config):
    """Which places become classes."""

    min_images: int = Field(default=0, description="training pictures that make a class; 0: the profile's (paper: 10)")
    weighting: Literal["balanced", "none", "sqrt", "effective_number", "logit_adjust"] = Field(
        default="balanced", description="loss weights of the classes; balanced: paper eq. (1)"
    )


@dg.asset(
    partitions_def=prefectures,
    deps=[census_towns, "osm_roads", "osm_landmarks", street_view_images, PHOTOS],
    pool="estat",  # pictures just outside may ask it for the neighbours' ground
    **sheet(LABELLED_IMAGES, group="labels", kinds={"geopandas"}, code_version="3"),
)
def labelled_images(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """Every picture in one prefecture with its municipality, town block, and the nearest road and landmark within 20 m.

    From: street_view_images, photo_collections, census_towns, osm_roads, osm_landmarks. A picture just outside the prefecture
    counts as off its shore, unless it lies in a neighbour's block or nearer to one: the neighbours' ground is read from
    e-Stat's archives, whichever partitions exist. The same picture in several sets counts once; the others are `rejected`.
    Takes: seconds. Paper §3.1.
    """
    from geoloc_pipeline.imagery.duplicates import without_duplicates
    from geoloc_pipeline.labels.nearby import label_images
    from geoloc_pipeline.orchestration.showing.previews import draw_labels
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "labelled_images", key)
    inputs = step.upstream_partitions("photo_collections")
    for upstream in ("street_view_images", "census_towns", "osm_roads", "osm_landmarks"):
        inputs |= step.upstream(upstream, key)

    def build() -> Made:
        images = [read_table(STREET_VIEW_IMAGES, home.table("street_view_images", key))]
        images += [read_table(PHOTO_COLLECTIONS, path) for path in table_paths(pipeline, "photo_collections", inputs)]
        towns = read_table(CENSUS_TOWNS, home.table("census_towns", key))
        kept, doubles = without_duplicates(images)
        placed = label_images(
            images,
            towns,
            read_table(OSM_ROADS, home.table("osm_roads", key)),
            read_table(OSM_LANDMARKS, home.table("osm_landmarks", key)),
            prefecture_code=BY_KEY[key].code,
            neighbours=lambda: _ground_beside(pipeline, BY_KEY[key].code),
        )
        labelled = placed[placed["image_id"].isin(set().union(*(table["image_id"] for table in kept)))]
        found = {
            f"with_{name}": int(labelled[name].notna().sum())
            for name in ("municipality_code", "town_code", "road_id", "landmark_id")
        }
        off_shore = int((labelled["town_distance_m"] > 0).sum())
        tables = {LABELLED_IMAGES: labelled, REJECTED: _placed_here(doubles, placed)}
        made = write_tables(step, tables, **found, off_shore=off_shore)
        made.preview = draw_labels(labelled, towns)
        return made

    yield step.run(inputs, build)


def _placed_here(doubles: "pd.DataFrame", placed: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rejected doubles that lie in this prefecture; the others are told by theirs."""
    import numpy as np

    from geoloc_pipeline.imagery.journal import image_id_of

    here = set(placed["image_id"])
    ids = [image_id_of(*pair) for pair in zip(doubles["source"], doubles["source_image_id"], strict=True)]
    return doubles[np.array([image_id in here for image_id in ids], dtype=bool)]


def _ground_beside(pipeline: Pipeline, code: str) -> Iterator["pd.DataFrame"]:
    """Read the town blocks of the prefectures that share a land border with one, those that e-Stat has."""
    from geoloc_pipeline.sources.census import CensusClient, read_towns

    client = CensusClient(pipeline.http())
    for neighbour in neighbours_of(code):
        archive = client.fetch(neighbour, pipeline.home.census())
        if archive is not None:
            yield read_towns(archive)


@dg.asset(
    partitions_def=prefectures,
    deps=[labelled_images],
    **sheet(
        DATASET_SPLITS,
        group="labels",
        kinds={"scipy"},
        code_version="2",
        checks=[
            dg.AssetCheckSpec(
                "no_group_on_two_sides",
                asset="dataset_splits",
                blocking=True,
                description="No capture group and no place is on two sides of the split: nothing leaks from training to test.",
            )
        ],
    ),
)
def dataset_splits(context: dg.AssetExecutionContext, pipeline: Pipeline, config: SplitConfig) -> Iterator[Outcome]:
    """Train, validation and test: 80:15:5 in every municipality, whole groups on one side.

    From: labelled_images. Capture groups, and pictures at one place, are never cut; where one group is nearly all of a
    municipality, there is little to validate on, and the preview shows it. `rule=paper` deals by image, to reproduce the paper.
    Takes: seconds. Paper §3.1.
    """
    import pandas as pd

    from geoloc_pipeline.labels.splits import leak_report, split_images
    from geoloc_pipeline.orchestration.showing.previews import write_rows
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "dataset_splits", key)
    place_m = pipeline.settings.place_m

    def build() -> Made:
        labelled = read_table(LABELLED_IMAGES, home.table("labelled_images", key))
        splits = split_images(labelled, rule=config.rule, place_m=place_m, seed=config.seed)
        shares = splits["split"].value_counts(normalize=True)
        facts = {f"{side}_pct": round(100 * float(shares.get(side, 0.0)), 1) for side in ("train", "val", "test")}
        leaks = asdict(leak_report(labelled, splits))
        dealt = pd.crosstab(splits["municipality_code"], splits["split"]).reindex(columns=list(SPLITS), fill_value=0)
        largest = splits.groupby(["municipality_code", "split_group"]).size().groupby("municipality_code").max()
        without = {f"municipalities_without_{side}": int((dealt[side] == 0).sum()) for side in ("val", "test")}
        made = write_tables(step, {DATASET_SPLITS: splits}, **facts, **without, leaks=leaks)
        made.preview = write_rows(dealt.assign(largest_group=largest).reset_index())
        return made

    result = step.run(step.upstream("labelled_images", key) | {"split": config.model_dump(), "place_m": place_m}, build)
    sides = read_table(DATASET_SPLITS, home.table("dataset_splits", key)).groupby("split_group")["split"].nunique()
    torn = int((sides > 1).sum())
    yield result
    yield dg.AssetCheckResult(
        asset_key="dataset_splits",
        check_name="no_group_on_two_sides",
        passed=torn == 0 or config.rule == "paper",
        metadata={"prefecture": key, "groups": len(sides), "torn": torn},
    )


@dg.asset(
    deps=[labelled_images, dataset_splits],
    **sheet(
        LABEL_VOCABULARY,
        group="labels",
        kinds={"pandas"},
        code_version="2",
        checks=[
            dg.AssetCheckSpec(
                "no_picture_in_two_prefectures",
                asset="label_vocabulary",
                description="A picture belongs to one prefecture; a warning where it was labelled in two.",
            ),
            drift_check("label_vocabulary", CLASSES, "No more than a tenth of the classes are gone since the last run."),
        ],
    ),
)
def label_vocabulary(context: dg.AssetExecutionContext, pipeline: Pipeline, config: VocabularyConfig) -> Iterator[Outcome]:
    """The classes of the five heads: places with enough training pictures, their counts and loss weights.

    From: every partition of labelled_images and dataset_splits that exists. It is the first to see them all, so it also counts
    what training and test share across municipalities and prefectures. Takes: seconds. Paper §3.2, eq. (1).
    """
    from geoloc_pipeline.labels.splits import leak_report
    from geoloc_pipeline.labels.vocabulary import build_vocabulary
    from geoloc_pipeline.orchestration.showing.previews import write_rows
    from geoloc_pipeline.storage.parquet import read_tables

    step = Step(context, pipeline, "label_vocabulary")
    inputs = step.upstream_partitions("labelled_images") | step.upstream_partitions("dataset_splits")
    min_images = config.min_images or pipeline.settings.min_images

    def build() -> Made:
        labelled = read_tables(LABELLED_IMAGES, table_paths(pipeline, "labelled_images", inputs))
        splits = read_tables(DATASET_SPLITS, table_paths(pipeline, "dataset_splits", inputs))
        twice = labelled["image_id"].duplicated()
        labelled, splits = labelled[~twice], splits.drop_duplicates("image_id")
        vocabulary = build_vocabulary(
            labelled, splits, names=_names(pipeline, inputs), min_images=min_images, weighting=config.weighting
        )
        leaks = asdict(leak_report(labelled, splits))
        facts = {"classes": _counts(vocabulary), "in_two_prefectures": int(twice.sum()), "leaks": leaks}
        made = write_tables(step, {LABEL_VOCABULARY: vocabulary}, **facts)
        made.preview = write_rows(vocabulary.groupby("task", sort=False).head(3), most=15)
        return made

    before = sum(step.facts().get("classes", {}).values()) or None
    yield step.run(inputs | {"min_images": min_images, "weighting": config.weighting}, build)
    yield drifted(
        "label_vocabulary",
        CLASSES,
        before=before,
        after=sum(step.facts()["classes"].values()),
        most_lost=CLASSES_LOST_SHARE * (before or 0),
        unit="classes of the five heads",
        partition=WHOLE,
    )
    twice = int(step.facts()["in_two_prefectures"])
    yield dg.AssetCheckResult(
        asset_key="label_vocabulary",
        check_name="no_picture_in_two_prefectures",
        passed=twice == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"pictures": twice},
    )


def _counts(vocabulary: "pd.DataFrame") -> dict[str, int]:
    return {str(task): int(count) for task, count in vocabulary["task"].value_counts(sort=False).items()}


def _names(pipeline: Pipeline, inputs: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return names for people, by task and code, from the maps of the prefectures at hand."""
    from geoloc_pipeline.storage.parquet import read_table

    home = pipeline.home
    names: dict[str, dict[str, str]] = {
        "prefecture": {code: prefecture.name for code, prefecture in BY_CODE.items()},
        "municipality": {},
        "town": {},
        "road": {},
        "landmark": {},
    }
    for path in table_paths(pipeline, "labelled_images", inputs):
        towns = read_table(CENSUS_TOWNS, home.table("census_towns", path.stem))
        roads = read_table(OSM_ROADS, home.table("osm_roads", path.stem))
        landmarks = read_table(OSM_LANDMARKS, home.table("osm_landmarks", path.stem))
        for task, frame, code, name in (
            ("municipality", towns, "municipality_code", "municipality"),
            ("town", towns, "town_code", "town"),
            ("road", roads, "road_id", "name"),
            ("landmark", landmarks, "landmark_id", "name"),
        ):
            known = frame[[code, name]].dropna()
            names[task] |= dict(zip(known[code], known[name], strict=True))
    return names


@dg.asset(
    partitions_def=prefectures,
    deps=[labelled_images, dataset_splits, street_view_images, PHOTOS],
    **sheet(TRAINING_SHARDS, group="labels", kinds={"webp"}),
)
def training_shards(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """The pictures of one prefecture cut into single views of 448 px at most, in tar shards with an offset index.

    From: labelled_images, dataset_splits and the picture archive. Views carry no EXIF, so no place can leak into training; they
    are never enlarged. Takes: minutes per 10,000 pictures. Paper §3.1, §3.2.
    """
    from geoloc_pipeline.labels.shards import write_training_shards
    from geoloc_pipeline.orchestration.showing.previews import draw_contact_sheet
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "training_shards", key)
    folder, side_px = home.images("training_shards", key), pipeline.settings.side_px
    inputs = step.upstream_partitions("photo_collections")
    for upstream in ("labelled_images", "dataset_splits", "street_view_images"):
        inputs |= step.upstream(upstream, key)

    def build() -> Made:
        archive: list[tuple[Any, Path]] = [
            (read_table(STREET_VIEW_IMAGES, home.table("street_view_images", key)), home.images("street_view_images", key))
        ]
        for path in table_paths(pipeline, "photo_collections", inputs):
            archive.append((read_table(PHOTO_COLLECTIONS, path), home.images("photo_collections", path.stem)))
        views = write_training_shards(
            read_table(LABELLED_IMAGES, home.table("labelled_images", key)),
            read_table(DATASET_SPLITS, home.table("dataset_splits", key)),
            archive,
            folder,
            side_px=side_px,
            progress=step.progress,
        )
        made = write_tables(step, {TRAINING_SHARDS: views}, images=int(views["image_id"].nunique()))
        made.bulk = sorted(folder / shard for shard in views["shard"].unique())
        made.preview = draw_contact_sheet(views, folder, width_px=96, across=8)
        return made

    yield step.run(inputs | {"side_px": side_px}, build)
