"""Group `osm`: the dumps, the census, and what of them a prefecture needs."""

from collections.abc import Iterator
from datetime import UTC
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from geoloc_pipeline.geo.prefectures import BY_KEY, REGIONS
from geoloc_pipeline.orchestration.io import OWNERS, Made, Step, sheet, write_tables
from geoloc_pipeline.orchestration.partitions import prefectures, region_to_prefectures, regions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import CENSUS_TOWNS, OSM_LANDMARKS, OSM_ROADS

if TYPE_CHECKING:
    import pandas as pd

EXTRACTS = dg.AssetSpec(
    "geofabrik_extracts",
    group_name="osm",
    kinds={"openstreetmap"},
    owners=OWNERS,
    description=(
        "The 8 regional extracts of Japan as Geofabrik publishes them. Observed, not downloaded: its data version changes "
        "when a region has a new replication sequence. From: download.geofabrik.de. Cadence: daily. Licence: ODbL 1.0."
    ),
    metadata={"dagster/uri": "https://download.geofabrik.de/asia/japan.html"},
)


@dg.multi_observable_source_asset(specs=[EXTRACTS])
def observe_extracts(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[dg.ObserveResult]:
    """Ask Geofabrik which dumps are the latest."""
    from geoloc_pipeline.sources.geofabrik import GeofabrikClient
    from geoloc_pipeline.storage.receipts import fingerprint_of, write_receipt

    client = GeofabrikClient(pipeline.http())
    versions = {region: version for region in REGIONS if (version := client.latest(region)) is not None}
    context.log.info("%d of %d regions are published", len(versions), len(REGIONS))
    seen = {region: version.sequence for region, version in versions.items()}
    write_receipt(pipeline.home.receipt("geofabrik_extracts"), inputs=seen, files=[], root=pipeline.home.root)
    yield dg.ObserveResult(
        asset_key=EXTRACTS.key,
        data_version=dg.DataVersion(fingerprint_of({region: version.md5 for region, version in versions.items()})[:16]),
        metadata={
            "regions": len(versions),
            "versions": dg.MetadataValue.json(
                {
                    region: {
                        "sequence": version.sequence,
                        "timestamp": version.timestamp.astimezone(UTC).isoformat(),
                        "md5": version.md5,
                    }
                    for region, version in versions.items()
                }
            ),
        },
    )


@dg.asset(
    partitions_def=regions,
    deps=[EXTRACTS],
    group_name="osm",
    kinds={"openstreetmap", "pbf"},
    owners=OWNERS,
    code_version="1",
    pool="geofabrik",
)
def osm_dump(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """The verified, dated `.osm.pbf` of one region; md5 checked, resumed after a cut, kept whole or not at all.

    From: Geofabrik. Stored as: sources/geofabrik/<region>/<region>-YYMMDD.osm.pbf. Takes: 90 MB to 520 MB to download.
    Licence: ODbL 1.0, (c) OpenStreetMap contributors.

    Raises:
        SettingError: Geofabrik publishes no dump of the region.
    """
    from geoloc_pipeline.errors import SettingError
    from geoloc_pipeline.sources.geofabrik import GeofabrikClient

    region, client = context.partition_key, GeofabrikClient(pipeline.http())
    step = Step(context, pipeline, "osm_dump", region)
    version = client.latest(region)
    if version is None:
        raise SettingError(
            setting="region", value=region, cure="Geofabrik publishes no dump of it now: choose another, or wait"
        )

    def build() -> Made:
        path = client.fetch(region, pipeline.home.dumps(region), progress=step.progress)
        facts = {
            "file": path.name,
            "sequence": version.sequence,
            "timestamp": version.timestamp.isoformat(),
            "md5": version.md5,
        }
        told = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
        return Made(files=[path], facts=facts, preview=f"| | |\n|---|---|\n{told}")

    return step.run({"md5": version.md5, "sequence": version.sequence}, build)


@dg.asset(partitions_def=prefectures, pool="estat", **sheet(CENSUS_TOWNS, group="osm", kinds={"estat"}))
def census_towns(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Town blocks (町丁・字等) of one prefecture: the borders that name places.

    From: e-Stat, 2020 census, small areas (JGD2011), brought to WGS 84. Takes: seconds; 1 MB to 20 MB to download.
    Licence: 出典：政府統計の総合窓口(e-Stat) 2020年国勢調査 小地域境界データを加工して作成. Paper §3.1.
    """
    from geoloc_pipeline.orchestration.previews import draw_map
    from geoloc_pipeline.sources.census import CensusClient, read_towns

    step = Step(context, pipeline, "census_towns", context.partition_key)

    def build() -> Made:
        code = BY_KEY[context.partition_key].code
        archive = CensusClient(pipeline.http()).fetch(code, pipeline.home.census(), progress=step.progress)
        towns = read_towns(archive)
        made = write_tables(
            step,
            {CENSUS_TOWNS: towns},
            municipalities=int(towns["municipality_code"].nunique()),
            people=int(towns["population"].sum()),
        )
        made.preview = draw_map(areas=towns, colour_by="municipality_code")
        return made

    return step.run({"edition": "A002005212020", "datum": "2011"}, build)


@dg.multi_asset(
    partitions_def=prefectures,
    specs=[
        dg.AssetSpec(
            contract.name,
            deps=[dg.AssetDep(osm_dump, partition_mapping=region_to_prefectures), census_towns],
            description=(
                f"{contract.about} From: osm_dump, census_towns, by QuackOSM in one pass. "
                f"Stored as: tables/{contract.name}/<prefecture>.parquet. Takes: 10 s to 5 min per prefecture. Paper §3.1."
            ),
            **sheet(contract, group="osm", kinds={"duckdb"}),
        )
        for contract in (OSM_ROADS, OSM_LANDMARKS)
    ],
)
def osm_map(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[dg.MaterializeResult[None]]:
    """Cut the roads and landmarks of a prefecture out of its region's dump, in one pass for both."""
    from geoloc_pipeline.orchestration.previews import draw_map
    from geoloc_pipeline.osm.extract import extract_map
    from geoloc_pipeline.storage.parquet import read_table

    home, prefecture = pipeline.home, BY_KEY[context.partition_key]
    roads_step = Step(context, pipeline, "osm_roads", prefecture.key)
    inputs = roads_step.upstream("osm_dump", prefecture.region) | roads_step.upstream("census_towns", prefecture.key)

    @cache
    def extracted() -> tuple["pd.DataFrame", "pd.DataFrame"]:
        return extract_map(
            max(home.dumps(prefecture.region).glob("*.osm.pbf")),
            read_table(CENSUS_TOWNS, home.table("census_towns", prefecture.key)),
            prefecture_code=prefecture.code,
            scratch=home.extraction_scratch("osm_map", prefecture.key),
            memory_limit_bytes=pipeline.settings.memory_limit_bytes,
            progress=roads_step.progress,
        )

    def roads() -> Made:
        frame = extracted()[0]
        made = write_tables(
            roads_step,
            {OSM_ROADS: frame},
            roads=int(frame["road_id"].nunique()),
            length_km=round(float(frame["length_m"].sum()) / 1000),
        )
        made.preview = draw_map(lines=frame)
        return made

    yield roads_step.run(inputs, roads)
    landmarks_step = Step(context, pipeline, "osm_landmarks", prefecture.key)

    def landmarks() -> Made:
        frame = extracted()[1]
        made = write_tables(landmarks_step, {OSM_LANDMARKS: frame}, categories=int(frame["category"].nunique()))
        made.preview = draw_map(points=frame.assign(geometry=frame.geometry.representative_point()))
        return made

    yield landmarks_step.run(inputs, landmarks)
