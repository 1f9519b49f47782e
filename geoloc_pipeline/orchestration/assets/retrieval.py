"""Group `retrieval`: embeddings and the gallery in which a photo's neighbours are looked up."""

from collections.abc import Iterator

import dagster as dg

from geoloc_pipeline.orchestration.assets.labels import training_shards
from geoloc_pipeline.orchestration.assets.training import geolocation_model
from geoloc_pipeline.orchestration.io import OWNERS, Made, Outcome, Step, sheet, table_paths, write_tables
from geoloc_pipeline.orchestration.partitions import prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS, TRAINING_SHARDS


@dg.asset(
    partitions_def=prefectures,
    deps=[training_shards, geolocation_model],
    pool="gpu",
    **sheet(IMAGE_EMBEDDINGS, group="retrieval", kinds={"pytorch"}),
)
def image_embeddings(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Embeddings of the train and val pictures of one prefecture: every view, and the mean of a panorama's views.

    From: training_shards, geolocation_model. Never of test pictures. Takes: seconds in the demo, 5 minutes on one H200 for all
    of Japan. Paper §3.3.
    """
    from geoloc_pipeline.orchestration.previews import draw_scatter
    from geoloc_pipeline.retrieval.embed import embed_shards
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "image_embeddings", key)

    def build() -> Made:
        shards = read_table(TRAINING_SHARDS, home.table("training_shards", key))
        embeddings = embed_shards(home.checkpoint(), shards, home.images("training_shards", key), progress=step.progress)
        made = write_tables(step, {IMAGE_EMBEDDINGS: embeddings}, images=int(embeddings["image_id"].nunique()))
        made.preview = draw_scatter(embeddings[embeddings["view"].isin(("mean", "photo"))])
        return made

    return step.run(step.upstream("training_shards", key) | step.upstream("geolocation_model"), build)


@dg.asset(
    deps=[image_embeddings],
    group_name="retrieval",
    kinds={"qdrant"},
    owners=OWNERS,
    code_version="1",
    check_specs=[dg.AssetCheckSpec("every_embedding_is_indexed", asset="qdrant_collection", blocking=True)],
)
def qdrant_collection(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """The live gallery: one point a view, built beside the old one and swapped in after count and canary checks.

    From: every partition of image_embeddings that exists. Stored in: the Qdrant server of GEOLOC_QDRANT_URL, or Qdrant
    Edge under
    qdrant/. Takes: seconds in the demo, minutes for all of Japan. Paper §3.3.
    """
    from geoloc_pipeline.orchestration.previews import write_rows
    from geoloc_pipeline.retrieval.gallery import build_gallery, open_gallery
    from geoloc_pipeline.storage.parquet import read_tables
    from geoloc_pipeline.storage.receipts import fingerprint_of

    step = Step(context, pipeline, "qdrant_collection")
    inputs, location = step.upstream_partitions("image_embeddings"), pipeline.gallery()

    def build() -> Made:
        embeddings = read_tables(IMAGE_EMBEDDINGS, table_paths(pipeline, "image_embeddings", inputs))
        name = build_gallery(embeddings, location=location, progress=step.progress)
        facts = {"collection": name, "points": len(embeddings), "embeddings": fingerprint_of(inputs)}
        counts = embeddings["view"].value_counts().rename_axis("view").reset_index(name="points")
        return Made(files=[], facts=facts, preview=f"`{name}`\n\n{write_rows(counts)}")

    result = step.run(inputs | {"gallery": location.label}, build)
    wanted = sum(len(read_tables(IMAGE_EMBEDDINGS, [path])) for path in table_paths(pipeline, "image_embeddings", inputs))
    with open_gallery(location) as gallery:
        found = gallery.count()
    yield result
    yield dg.AssetCheckResult(
        asset_key="qdrant_collection",
        check_name="every_embedding_is_indexed",
        passed=found == wanted,
        metadata={"embeddings": wanted, "points": found},
    )
