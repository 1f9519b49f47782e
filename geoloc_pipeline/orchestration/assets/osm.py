"""Group `osm`: the dumps, the census, and what of them a prefecture needs."""

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import dagster as dg
from pydantic import Field

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.prefectures import BY_KEY, REGIONS
from geoloc_pipeline.orchestration.checks import contract_check
from geoloc_pipeline.orchestration.dumps import bring_dump, latest_dumps
from geoloc_pipeline.orchestration.extraction import ABOUT_LOSSES, CHECKS, extract_prefectures
from geoloc_pipeline.orchestration.io import OWNERS, Made, Outcome, Step, sheet, spec_of, write_tables
from geoloc_pipeline.orchestration.limits import trying_again
from geoloc_pipeline.orchestration.partitions import prefectures, region_to_prefectures, regions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.layout import WHOLE
from geoloc_pipeline.storage.shared import shared_home
from geoloc_pipeline.tables import CENSUS_TOWNS, OSM_LANDMARKS, OSM_ROADS

EXTRACTS = dg.AssetSpec(
    "geofabrik_extracts",
    partitions_def=regions,
    skippable=True,  # what is told is told region by region
    group_name="osm",
    kinds={"openstreetmap"},
    owners=OWNERS,
    description=(
        "The 8 regional extracts of Japan as Geofabrik publishes them, or what GEOLOC_OSM_DUMPS names instead. Observed, not "
        "downloaded: all regions at once, each with a data version of its own (md5 and sequence), so that a new map makes "
        "the dump of its region stale and no other. From: download.geofabrik.de. Cadence: daily. Licence: ODbL 1.0."
    ),
    metadata={"dagster/uri": "https://download.geofabrik.de/asia/japan.html"},
)


@dg.multi_observable_source_asset(specs=[EXTRACTS], can_subset=True)
def observe_extracts(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[dg.ObserveResult]:
    """Ask Geofabrik (or look at a local file) which dumps are the latest."""
    from geoloc_pipeline.storage.receipts import write_receipt

    with trying_again(context):
        versions = latest_dumps(pipeline, REGIONS)
    context.log.info("%d of %d regions are published", len(versions), len(REGIONS))
    seen = {region: version.sequence for region, version in versions.items()}
    write_receipt(pipeline.home.receipt("geofabrik_extracts"), inputs=seen, files=[], root=pipeline.home.root)
    if shared := shared_home(pipeline.home):
        shared.publish("geofabrik_extracts", WHOLE)
    for region, version in versions.items():
        told: dict[str, Any] = {
            "sequence": version.sequence,
            "timestamp": dg.MetadataValue.timestamp(version.timestamp.astimezone(UTC)),
            "md5": version.md5,
        }
        data_version = {"dagster/data_version": f"{version.md5}-{version.sequence}"}
        context.log_event(dg.AssetObservation(EXTRACTS.key, partition=region, metadata=told, tags=data_version))
    yield from ()  # a result of the whole would have one data version for all regions


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

    From: Geofabrik's extract of that name; GEOLOC_OSM_DUMPS names another one, or a local file. Stored as:
    sources/geofabrik/<region>/<name>-YYMMDD.osm.pbf. Takes: 90 MB to 520 MB to download.
    Licence: ODbL 1.0, (c) OpenStreetMap contributors.

    Raises:
        SettingError: Geofabrik publishes no dump of the region, or GEOLOC_OSM_DUMPS cannot be read.
    """
    from geoloc_pipeline.sources.dump_copies import read_dump_version

    region = context.partition_key
    step = Step(context, pipeline, "osm_dump", region)
    with trying_again(context):
        latest = latest_dumps(pipeline, [region]).get(region)
    if latest is None:
        raise SettingError(
            setting="region", value=region, cure="Geofabrik publishes no dump of it now: choose another, or wait"
        )

    def build() -> Made:
        path = bring_dump(pipeline, region, progress=step.progress)
        version = read_dump_version(path, region=region)  # the file itself knows best: it may be newer than what was told
        facts = {
            "file": path.name,
            "source": str(pipeline.dump_source(region)),
            "sequence": version.sequence,
            "timestamp": version.timestamp.isoformat(),
            "md5": version.md5,
        }
        told = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
        return Made(files=[path], facts=facts, preview=f"| | |\n|---|---|\n{told}")

    return step.run({"md5": latest.md5, "sequence": latest.sequence}, build)


@dg.asset(partitions_def=prefectures, pool="estat", **sheet(CENSUS_TOWNS, group="osm", kinds={"estat"}, code_version="2"))
def census_towns(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """Town blocks (町丁・字等) of one prefecture: the borders that name places.

    From: e-Stat, 2020 census, small areas (JGD2011), brought to WGS 84. Takes: seconds; 1 MB to 20 MB to download.
    Licence: 出典：政府統計の総合窓口(e-Stat) 2020年国勢調査 小地域境界データを加工して作成. Paper §3.1.

    Raises:
        SettingError: e-Stat has nothing of the prefecture.
    """
    from geoloc_pipeline.orchestration.showing.previews import draw_map
    from geoloc_pipeline.sources.census import CensusClient, read_towns

    step = Step(context, pipeline, "census_towns", context.partition_key)

    def build() -> Made:
        code = BY_KEY[context.partition_key].code
        archive = CensusClient(pipeline.http()).fetch(code, pipeline.home.census(), progress=step.progress)
        if archive is None:
            cure = f"e-Stat has no archive of it now: put one into {pipeline.home.census()}, or choose another prefecture"
            raise SettingError(setting="the prefecture", value=context.partition_key, cure=cure)
        towns = read_towns(archive)
        made = write_tables(
            step,
            {CENSUS_TOWNS: towns},
            municipalities=int(towns["municipality_code"].nunique()),
            people=int(towns["population"].sum()),
        )
        made.preview = draw_map(areas=towns, colour_by="municipality_code")
        return made

    yield step.run({"edition": "A002005212020", "datum": "2011"}, build)


class ExtractionConfig(dg.Config):
    """What an operator may allow an extraction."""

    accept_loss: bool = Field(
        default=False,
        description="Replace the tables in hand although the new map lost more than a fifth of the roads or landmarks.",
    )


@dg.multi_asset(
    partitions_def=prefectures,
    backfill_policy=dg.BackfillPolicy.single_run(),  # prefectures of one region share a pass of its dump
    specs=[
        dg.AssetSpec(
            contract.name,
            deps=[dg.AssetDep(osm_dump, partition_mapping=region_to_prefectures), census_towns],
            description=(
                f"{contract.about} From: osm_dump, census_towns, by QuackOSM in one pass for all prefectures of a region that "
                "a run asks for. A map that lost more than a fifth is refused and the table in hand stays. "
                f"Stored as: tables/{contract.name}/<prefecture>.parquet. Takes: 10 s to 5 min per prefecture. Paper §3.1."
            ),
            **spec_of(contract, group="osm", kinds={"duckdb"}, code_version="2"),
        )
        for contract in (OSM_ROADS, OSM_LANDMARKS)
    ],
    check_specs=[
        *(dg.AssetCheckSpec(check, asset=key, blocking=True, description=ABOUT_LOSSES) for key, check in CHECKS.items()),
        *(contract_check(key) for key in CHECKS),
    ],
)
def osm_map(
    context: dg.AssetExecutionContext, config: ExtractionConfig, pipeline: Pipeline
) -> Iterator[Outcome | dg.AssetMaterialization]:
    """Cut the roads and landmarks of one or several prefectures out of their regions' dumps, one pass a dump for everything."""
    yield from extract_prefectures(context, pipeline, accept_loss=config.accept_loss)
