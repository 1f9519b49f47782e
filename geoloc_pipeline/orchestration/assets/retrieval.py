"""Group `retrieval`: embeddings and the gallery in which a photo's neighbours are looked up."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from geoloc_pipeline.orchestration.assets.imagery import photo_collections, street_view_images
from geoloc_pipeline.orchestration.assets.labels import dataset_splits, labelled_images, training_shards
from geoloc_pipeline.orchestration.assets.training import figures_now, geolocation_model
from geoloc_pipeline.orchestration.checks import NO_TEST_PICTURE
from geoloc_pipeline.orchestration.io import OWNERS, Made, Outcome, Step, sheet, table_paths, write_tables
from geoloc_pipeline.orchestration.partitions import prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import (
    BACKBONE_TOKENS,
    DATASET_SPLITS,
    EMBEDDED_VIEWS,
    IMAGE_EMBEDDINGS,
    LABELLED_IMAGES,
    PHOTO_COLLECTIONS,
    STREET_VIEW_IMAGES,
    TRAINING_SHARDS,
)

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.retrieval.embedding.embed import Embedded


_EMBEDDING_VERSION = "1"
"""Code version of `image_embeddings`: when it is raised, no vector of before is taken over."""


class TokensConfig(dg.Config):
    """What is written beside the embeddings."""

    tokens: bool = Field(default=False, description="write the backbone's output of every view as well: backbone_tokens")


@dg.asset(
    partitions_def=prefectures,
    deps=[training_shards, geolocation_model],
    pool="gpu",
    **sheet(IMAGE_EMBEDDINGS, group="retrieval", kinds={"pytorch"}, code_version=_EMBEDDING_VERSION),
)
def image_embeddings(context: dg.AssetExecutionContext, config: TokensConfig, pipeline: Pipeline) -> Iterator[Outcome]:
    """Embeddings of the train and val pictures of one prefecture: every view, and the mean of a panorama's views.

    From: training_shards, geolocation_model. Never of test pictures. A killed job goes on where it was; a view that the
    same model has embedded is not embedded again. With `tokens`, the backbone's outputs too: tables/backbone_tokens; they go
    when a job without `tokens` finds other views or another model. Takes: seconds in the demo, half an hour on one H200 for the
    3.4 million views of all of Japan. Paper §3.3.
    """
    from geoloc_pipeline.retrieval.embedding.embed import embed_partition
    from geoloc_pipeline.retrieval.embedding.finished import Former
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "image_embeddings", key)

    def build() -> Made:
        embedded = embed_partition(
            home.checkpoint(),
            read_table(TRAINING_SHARDS, home.table("training_shards", key)),
            home.images("training_shards", key),
            scratch=home.embedding_scratch(key),
            former=Former(*(home.table(name, key) for name in ("image_embeddings", "backbone_tokens", "embedded_views"))),
            tokens=config.tokens,
            code_version=_EMBEDDING_VERSION,
            progress=step.progress,
        )
        context.log.info("%d views embedded, %d taken over from before", embedded.computed, embedded.taken_over)
        return _write_embedded(step, embedded)

    inputs = step.upstream("training_shards", key) | step.upstream("geolocation_model")
    yield step.run(inputs | ({"tokens": "yes"} if config.tokens else {}), build)


def _write_embedded(step: Step, embedded: "Embedded") -> Made:
    """Write what a job has made; whatever moment it is killed at, the next one takes over nothing wrong."""
    from geoloc_pipeline.orchestration.showing.previews import draw_scatter
    from geoloc_pipeline.retrieval.embedding.finished import remove_scratch

    home, key = step.pipeline.home, step.partition
    home.table("embedded_views", key).unlink(missing_ok=True)  # nothing is taken over from tables in the making
    if embedded.tokens is None and not embedded.unchanged:
        home.table("backbone_tokens", key).unlink(missing_ok=True)  # of other views or another model
    tables = {IMAGE_EMBEDDINGS: embedded.embeddings, BACKBONE_TOKENS: embedded.tokens, EMBEDDED_VIEWS: embedded.views}
    made = write_tables(
        step,
        {contract: table for contract, table in tables.items() if table is not None},
        images=int(embedded.embeddings["image_id"].nunique()),
        computed=embedded.computed,
        taken_over=embedded.taken_over,
    )
    made.files, made.bulk = made.files[:1], made.files[1:]  # the gallery is not built anew because tokens were asked for
    made.preview = draw_scatter(embedded.embeddings[embedded.embeddings["view"].isin(("mean", "photo"))])
    remove_scratch(home.embedding_scratch(key))
    return made


class GalleryConfig(dg.Config):
    """How the gallery keeps its vectors, and compares them: see `gallery.space.Compare`."""

    whitening: float = Field(default=0.0, description="divide the principal axes by this power of their spread: 0 to 0.5")
    less_hubs: bool = Field(default=False, description="take half of a picture's likeness to everything off its similarity")
    quantised: bool = Field(
        default=True, description="walk the graph by int8 copies, twice as fast; what is found is compared in full"
    )


@dg.asset(
    deps=[image_embeddings, labelled_images, dataset_splits, street_view_images, photo_collections],
    group_name="retrieval",
    kinds={"qdrant"},
    owners=OWNERS,
    code_version="3",
    check_specs=[
        dg.AssetCheckSpec(
            "every_embedding_is_indexed",
            asset="qdrant_collection",
            blocking=True,
            description="The live collection holds as many points as the tables of embeddings have rows.",
        ),
        dg.AssetCheckSpec(
            NO_TEST_PICTURE,
            asset="qdrant_collection",
            blocking=True,
            description="No picture of the test split is in the gallery; with one, nothing is built and nothing swapped.",
        ),
    ],
)
def qdrant_collection(context: dg.AssetExecutionContext, config: GalleryConfig, pipeline: Pipeline) -> Iterator[Outcome]:
    """The live gallery: one point a view, built beside the old one and swapped in after count and canary checks.

    From: every partition of image_embeddings that exists; labelled_images, street_view_images and photo_collections tell by
    what a search can filter and a picture be forgotten, dataset_splits that none is a test picture. Stored in: the Qdrant
    server of GEOLOC_QDRANT_URL, or Qdrant Edge under qdrant/. Takes: seconds in the demo, minutes for all of Japan. Paper §3.3.
    """
    from geoloc_pipeline.orchestration.showing.previews import write_rows
    from geoloc_pipeline.retrieval.gallery.gallery import build_gallery, open_gallery
    from geoloc_pipeline.retrieval.gallery.space import Compare
    from geoloc_pipeline.storage.parquet import read_table
    from geoloc_pipeline.storage.receipts import fingerprint_of

    step, compare = (
        Step(context, pipeline, "qdrant_collection"),
        Compare(whitening=config.whitening, less_hubs=config.less_hubs),
    )
    inputs, location = step.upstream_partitions("image_embeddings"), replace(pipeline.gallery(), is_quantised=config.quantised)
    paths = table_paths(pipeline, "image_embeddings", inputs)
    told = {name: kind for key in _TOLD_BY for name, kind in step.upstream_partitions(key).items()}
    wanted = step.rows_of(inputs)

    def build() -> Made:
        name = build_gallery(
            lambda: (read_table(IMAGE_EMBEDDINGS, path) for path in paths),
            location=location,
            pictures=_pictures(pipeline, told),
            compare=compare,
            progress=step.progress,
        )
        facts = {"collection": name, "points": wanted, "embeddings": fingerprint_of(inputs), "model": figures_now(pipeline)}
        return Made(files=[], facts=facts, preview=f"`{name}`\n\n{write_rows(_points_by_view(paths))}")

    how = {"gallery": location.label, "vectors": "" if config.quantised else "in full", "compare": compare.label}
    result = step.run(inputs | told | {name: value for name, value in how.items() if value}, build)
    with open_gallery(location) as gallery:
        found = gallery.count()
    yield result
    yield dg.AssetCheckResult(
        asset_key="qdrant_collection",
        check_name="every_embedding_is_indexed",
        passed=found == wanted,
        metadata={"embeddings": wanted, "points": found},
    )
    yield dg.AssetCheckResult(
        asset_key="qdrant_collection",
        check_name=NO_TEST_PICTURE,
        passed=True,
        metadata={"points": found, "of_test_pictures": 0},
    )


_TOLD_BY = ("labelled_images", "dataset_splits", "street_view_images", "photo_collections")


def _pictures(pipeline: Pipeline, told: Mapping[str, str]) -> "pd.DataFrame":
    """Return what the gallery is told about each picture besides its vectors: see `gallery.build_gallery`."""
    import pandas as pd

    from geoloc_pipeline.storage.parquet import read_tables

    contracts = (LABELLED_IMAGES, DATASET_SPLITS, STREET_VIEW_IMAGES, PHOTO_COLLECTIONS)
    labelled, splits, *manifests = (
        pd.DataFrame(read_tables(contract, table_paths(pipeline, contract.name, told))) for contract in contracts
    )
    ids = pd.concat([manifest[["image_id", "source_image_id"]] for manifest in manifests]).drop_duplicates("image_id")
    codes = ["prefecture_code", "municipality_code", "town_code"]
    pictures = labelled[["image_id", "source", "capture_group", *codes]]
    return pictures.merge(ids, on="image_id", how="left").merge(splits[["image_id", "split"]], on="image_id", how="left")


def _points_by_view(paths: list[Path]) -> "pd.DataFrame":
    import pandas as pd

    views = pd.concat([pd.read_parquet(path, columns=["view"]) for path in paths]) if paths else pd.DataFrame({"view": []})
    return views["view"].value_counts().rename_axis("view").reset_index(name="points")
