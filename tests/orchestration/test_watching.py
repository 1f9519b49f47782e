"""A partition that was left failed is seen until somebody repairs it; assets that grow old say so."""

from pathlib import Path

import dagster as dg
import pytest

from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.watching import FRESHNESS, failed_partitions_job

FAILS: set[str] = set()


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]))
def thing(context: dg.AssetExecutionContext) -> None:
    if context.partition_key in FAILS:
        raise RuntimeError("as told")


def test_a_failed_partition_is_named_until_it_is_repaired(tmp_path: Path) -> None:
    watch = failed_partitions_job([thing])
    work = dg.Definitions(assets=[thing]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert watch.execute_in_process(instance=instance).success  # nothing was ever run
        FAILS.add("b")
        for partition in "ab":
            work.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)
        with pytest.raises(dg.Failure, match=r"left failed: thing: b\. .*Materialize failed"):
            watch.execute_in_process(instance=instance)
        FAILS.clear()
        assert work.execute_in_process(instance=instance, partition_key="b").success
        assert watch.execute_in_process(instance=instance).success


def test_what_is_made_anew_each_week_says_when_it_grows_old() -> None:
    specs = {
        spec.key.to_user_string(): spec
        for spec in build_definitions(Pipeline(home_dir="/x", profile="demo")).resolve_all_asset_specs()
    }
    assert set(FRESHNESS) <= set(specs)
    assert {key for key, spec in specs.items() if spec.freshness_policy is not None} == set(FRESHNESS)
