"""Checks that the UI shows of an artefact: what must not go on, and what has drifted.

https://docs.dagster.io/guides/test/asset-checks
A blocking check stops what stands on the asset. What breaks a rule is refused before it is written (`tables.contract`,
`retrieval.gallery`, `model.saved`): the step fails with its error, and the check that the error belongs to is told as failed.

Belongs here: the names and rules of checks that several assets share.
Does not belong here: a check of one asset alone (it stands beside the asset), what is compared (the rooms).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from geoloc_pipeline.errors import GeolocError, LeakedPictureError, NotFiniteError, TableContractError
from geoloc_pipeline.tables import CONTRACTS

CONTRACT = "keeps_its_contract"
FINITE = "weights_are_finite"
NO_TEST_PICTURE = "no_test_picture_is_indexed"
TOLD_BY_ERRORS: dict[type[GeolocError], str] = {
    TableContractError: CONTRACT,
    NotFiniteError: FINITE,
    LeakedPictureError: NO_TEST_PICTURE,
}
"""Checks that fail by an error, with which the step ends as well."""


def contract_key(table: str) -> dg.AssetCheckKey:
    """Return the key of the check that a table keeps its contract."""
    return dg.AssetCheckKey(dg.AssetKey(table), CONTRACT)


def contract_check(table: str) -> dg.AssetCheckSpec:
    """Return the blocking check that a table keeps its contract."""
    contract = CONTRACTS[table]
    where = ", WGS 84, geometry inside Japan's bounds" if contract.geometry else ""
    return dg.AssetCheckSpec(
        CONTRACT,
        asset=table,
        blocking=True,
        description=f"Columns, types and ranges as declared, no two rows of one {' + '.join(contract.key)}{where}.",
    )


def contract_kept(table: str, facts: Mapping[str, Any], *, partition: str) -> dg.AssetCheckResult:
    """Return that a table keeps its contract: it was checked before it was written.

    Args:
        table: Which.
        facts: Of its receipt.
        partition: Which.
    """
    from geoloc_pipeline.geo.crs import WGS84

    contract = CONTRACTS[table]
    metadata: dict[str, Any] = {"partition": partition, "rows": int(facts.get("rows") or 0), "key": " + ".join(contract.key)}
    if contract.geometry:
        metadata |= {"crs": WGS84, "outside_the_country": 0}
    return dg.AssetCheckResult(asset_key=table, check_name=CONTRACT, passed=True, metadata=metadata)


def tell_failure(context: dg.AssetExecutionContext, key: str, error: GeolocError) -> None:
    """Tell Dagster which check of an asset an error belongs to; nothing where it belongs to none.

    Args:
        context: Of the step that is about to end with the error.
        key: Asset key.
        error: The error.
    """
    name = next((name for kind, name in TOLD_BY_ERRORS.items() if isinstance(error, kind)), None)
    if name is None or dg.AssetCheckKey(dg.AssetKey(key), name) not in context.selected_asset_check_keys:
        return
    context.log_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(key),
            check_name=name,
            passed=False,
            metadata={"what": dg.MetadataValue.text(str(error))},
            severity=dg.AssetCheckSeverity.ERROR,
            blocking=True,
        )
    )


def drift_check(table: str, name: str, description: str) -> dg.AssetCheckSpec:
    """Return a check that only ever warns: a number has moved farther since the last run than it usually does."""
    return dg.AssetCheckSpec(name, asset=table, description=description)


def drifted(
    table: str, name: str, *, before: float | None, after: float, most_lost: float, unit: str, partition: str
) -> dg.AssetCheckResult:
    """Return whether a number, of which more is better, has lost more than it may since the last run.

    Args:
        table: Asset key.
        name: Of the check.
        before: The number at the last run; None: there was none.
        after: Now.
        most_lost: A loss beyond this warns.
        unit: Of all three.
        partition: Which.
    """
    lost = 0.0 if before is None else before - after
    metadata: dict[str, Any] = {"partition": partition, "after": after, "lost": round(lost, 4), "warned_above": most_lost}
    return dg.AssetCheckResult(
        asset_key=table,
        check_name=name,
        passed=lost <= most_lost,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata | {"unit": unit} | ({} if before is None else {"before": before}),
    )
