"""How an asset's step is run: skipped when its receipt is current, else built, written whole, and reported to Dagster.

https://docs.dagster.io/guides/build/assets/metadata-and-tags
Tables do not travel through Dagster: rooms read and write files at `storage.layout` paths, so a step can run anywhere the home
is mounted; where it is on object storage, what goes in is brought and what comes out is published. What Dagster gets is the
content hash as data version, counts, the schema and a preview.
"""

import base64
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from geoloc_pipeline.errors import GeolocError, MissingInputError
from geoloc_pipeline.orchestration.artefacts import find_artefact, is_name
from geoloc_pipeline.orchestration.checks import contract_check, contract_kept, contract_key, tell_failure
from geoloc_pipeline.orchestration.limits import trying_again
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import WHOLE
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.storage.receipts import Receipt, fingerprint_of, is_current, read_receipt, write_receipt
from geoloc_pipeline.storage.shared import shared_home
from geoloc_pipeline.tables import CONTRACTS, IMAGES, TableContract
from geoloc_pipeline.tables.lineage import COLUMN_LINEAGE

if TYPE_CHECKING:
    import pandas as pd

OWNERS = ["team:geoloc"]
Outcome = dg.MaterializeResult[None] | dg.AssetCheckResult
"""What an asset with checks yields: itself first, then each check."""


@dataclass
class Made:
    """What a step has made.

    Attributes:
        files: Files that the content hash is taken over.
        bulk: More files; `files` already tell their content.
        facts: Plain facts for people and for the report (counts, versions); JSON-serialisable.
        preview: What the Dagster UI shows: a PNG, or Markdown; None: nothing.
    """

    files: list[Path]
    bulk: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    preview: bytes | str | None = None


@dataclass
class Step:
    """One asset's step in one partition.

    Attributes:
        context: Dagster's context, for the log and the code version.
        pipeline: Where everything is.
        key: Asset key.
        partition: Partition key, or `all`.
    """

    context: dg.AssetExecutionContext
    pipeline: Pipeline
    key: str
    partition: str = WHOLE

    def __post_init__(self) -> None:
        """See what other nodes have made, where the home is shared."""
        self._shared = shared_home(self.pipeline.home)
        if self._shared:
            self._shared.refresh()

    @property
    def progress(self) -> Progress:
        """Where this step tells how far it is."""
        return Progress(self.pipeline.home.progress(self.key, self.partition))

    def upstream(self, key: str, partition: str = WHOLE) -> dict[str, str]:
        """Return `{artefact: content hash}` of an upstream artefact.

        Raises:
            MissingInputError: It was never materialised.
        """
        receipt = read_receipt(self.pipeline.home.receipt(key, partition))
        if receipt is None:
            raise MissingInputError(
                what=f"the asset `{key}`, partition {partition}",
                path=self.pipeline.home.root,
                cure="materialise it first (in the Dagster UI: select it, Materialize)",
            )
        return {f"{key}/{partition}": receipt.content_hash}

    def upstream_partitions(self, key: str) -> dict[str, str]:
        """Return `{artefact: content hash}` of every partition of an upstream asset that exists, in key order."""
        folder = self.pipeline.home.receipt(key).parent
        found: dict[str, str] = {}
        for path in sorted(folder.glob("*.json")):
            found |= self.upstream(key, path.stem)
        return found

    def look_around(self) -> None:
        """Where the home is shared: bring all tables, for a step that looks at more of them than what decides its rows."""
        if self._shared:
            self._shared.bring()

    def keep_at_hand(self, asset_key: str) -> None:
        """Where the home is shared: bring an asset's pictures, for a step that reads all of them."""
        if self._shared:
            self._shared.bring_shards(asset_key)

    def rows_of(self, artefacts: Iterable[str]) -> int:
        """Return how many rows upstream tables have together, as their receipts say."""
        receipts = (read_receipt(self.pipeline.home.receipt(*name.split("/", 1))) for name in artefacts)
        return sum(int(receipt.metadata["rows"]) for receipt in receipts if receipt)

    def facts(self) -> dict[str, Any]:
        """Return the facts that the step's last receipt tells; empty when it was never run."""
        receipt = read_receipt(self.pipeline.home.receipt(self.key, self.partition))
        return receipt.metadata if receipt else {}

    def current(self, inputs: Mapping[str, Any]) -> dg.MaterializeResult[None] | None:
        """Report the artefact that is there already, made from the same inputs; None when it has to be built.

        Args:
            inputs: As for `run`.
        """
        home = self.pipeline.home
        receipt = read_receipt(home.receipt(self.key, self.partition))
        elsewhere = self._shared.sizes(self.key, self.partition) if self._shared else {}
        fingerprint = fingerprint_of(self._with_code(inputs))
        if receipt is None or not is_current(receipt, fingerprint=fingerprint, root=home.root, elsewhere=elsewhere):
            return None
        if self._shared and not self._shared.is_published(self.key, self.partition, receipt):
            self._shared.publish(self.key, self.partition, home.beside(self.key, self.partition))
        if self._shared:
            self._shared.fetch(self.key, self.partition, beside=True)
        self.context.log.info("%s/%s is current: nothing to do", self.key, self.partition)
        return self._report(receipt, seconds=0.0)

    def run(
        self, inputs: Mapping[str, Any], build: Callable[[], Made], *, started_s: float | None = None
    ) -> dg.MaterializeResult[None]:
        """Build the artefact unless it is there already, made from the same inputs; report it to Dagster.

        Args:
            inputs: Everything that goes in: content hashes of upstream artefacts, settings. The code version is added.
            build: Makes the artefact, whole or not at all.
            started_s: When the work began (`time.monotonic()`), where some of it was done before, its inputs checked.

        Returns:
            The materialisation, with the content hash as data version.

        Raises:
            MissingInputError: As `check`.
            RetryRequested: A service did not answer; see `limits`.
            GeolocError: What `build` raises; the check that it belongs to is told as failed.
        """
        done = self.current(inputs)
        if done is not None:
            return done
        home = self.pipeline.home
        path = home.receipt(self.key, self.partition)
        if started_s is None:
            self.check(inputs)
        started_s = time.monotonic() if started_s is None else started_s
        self.progress.tell(0)
        with self._in_the_making():
            path.unlink(missing_ok=True)  # from here on the artefact is in the making
            try:
                with trying_again(self.context):
                    made = build()
            except GeolocError as error:
                tell_failure(self.context, self.key, error)
                raise
            seconds = round(time.monotonic() - started_s, 2)
            if made.preview:
                write_text(home.preview(self.key, self.partition), self._as_markdown(made.preview))
            facts = {**made.facts, "seconds": seconds}
            receipt = write_receipt(
                path, inputs=self._with_code(inputs), files=made.files, bulk=made.bulk, root=home.root, metadata=facts
            )
        return self._report(receipt, seconds=seconds)

    @contextmanager
    def _in_the_making(self) -> Iterator[None]:
        """Where the home is shared: work on what everybody sees of this artefact, and publish what came of it."""
        if self._shared is None:
            yield
            return
        archived = self.key in {contract.name for contract in IMAGES}  # only new pictures are added to it
        self._shared.fetch(self.key, self.partition, shards=archived)
        note = self._shared.making(self.key, self.partition)
        try:
            yield
            with trying_again(self.context):
                self._shared.publish(self.key, self.partition, self.pipeline.home.beside(self.key, self.partition))
        finally:
            note.unlink(missing_ok=True)

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Make sure that what goes in is what its receipts say: a damaged table must not become a plausible one.

        The receipt of an artefact that is not is withdrawn, so that its step builds it again.

        Args:
            inputs: As for `run`; the artefacts among them are looked at, their hashed files read whole.

        Raises:
            MissingInputError: An artefact is damaged, or was made anew since it was asked for.
        """
        home = self.pipeline.home
        for name in filter(is_name, inputs):
            if self._shared:
                self._shared.fetch(*name.split("/", 1))
            found = find_artefact(home, name)
            if found is not None and found.receipt.content_hash == inputs[name] and found.is_true():
                continue
            if found is None or found.receipt.content_hash != inputs[name]:
                cure = "another run is making it anew: run this step again when that has ended"
            else:
                if self._shared:
                    self._shared.withdraw(found.key, found.partition)
                home.receipt(found.key, found.partition).unlink(missing_ok=True)
                cure = "a file is gone or damaged; materialise it again (its receipt was withdrawn), then this"
            raise MissingInputError(what=f"the asset `{name}` as its receipt tells it", path=home.root, cure=cure)

    def _with_code(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {**inputs, "code_version": self.context.assets_def.code_versions_by_key[dg.AssetKey(self.key)]}

    def _as_markdown(self, preview: bytes | str) -> str:
        if isinstance(preview, str):
            return preview
        return f"![{self.key} {self.partition}](data:image/png;base64,{base64.b64encode(preview).decode('ascii')})"

    def _report(self, receipt: Receipt, *, seconds: float) -> dg.MaterializeResult[None]:
        home = self.pipeline.home
        facts = {name: value for name, value in receipt.metadata.items() if name != "seconds"}
        metadata: dict[str, Any] = {name: _shown(value) for name, value in facts.items() if name != "rows"}
        metadata["bytes"] = sum(receipt.files.values())
        metadata["seconds"] = seconds
        if receipt.files:
            metadata["path"] = dg.MetadataValue.path(str(home.root / next(iter(receipt.files))))
        if "rows" in facts:
            metadata["dagster/row_count"] = facts["rows"]
        if self.key in CONTRACTS:
            metadata["dagster/column_schema"] = column_schema(CONTRACTS[self.key])
            metadata["dagster/column_lineage"] = column_lineage(self.key)
        preview = home.preview(self.key, self.partition)
        if preview.is_file():
            metadata["preview"] = dg.MetadataValue.md(preview.read_text(encoding="utf-8"))
        return dg.MaterializeResult(
            asset_key=self.key,
            metadata=metadata,
            data_version=dg.DataVersion(receipt.content_hash[:16]),
            check_results=self._checks(facts),
        )

    def _checks(self, facts: Mapping[str, Any]) -> list[dg.AssetCheckResult]:
        """Return that the table keeps its contract, where a table is made and the run was asked for its checks."""
        if contract_key(self.key) not in self.context.selected_asset_check_keys:
            return []
        return [contract_kept(self.key, facts, partition=self.partition)]


def _shown(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    return dg.MetadataValue.json(value)


def write_tables(step: Step, frames: Mapping[TableContract, "pd.DataFrame"], **facts: Any) -> Made:
    """Write the tables of a step and tell their counts.

    Args:
        step: Whose tables they are.
        frames: The asset's own table first; a `rejected` table goes beside it.
        facts: More facts for people.

    Returns:
        What was made; `rows` counts the asset's own table.
    """
    from geoloc_pipeline.storage.parquet import write_table
    from geoloc_pipeline.tables import REJECTED

    home, files, rows = step.pipeline.home, [], None
    for contract, frame in frames.items():
        path = home.rejected(step.key, step.partition) if contract is REJECTED else home.table(contract.name, step.partition)
        write_table(contract, frame, path)
        files.append(path)
        rows = len(frame) if rows is None else rows
        if contract is REJECTED:
            facts["rejected"] = len(frame)
            facts["rejected_reasons"] = {str(reason): int(count) for reason, count in frame["reason"].value_counts().items()}
    return Made(files=files, facts={"rows": rows, **facts})


def column_schema(contract: TableContract) -> dg.TableSchema:
    """Return a contract as Dagster shows it."""
    columns = [
        dg.TableColumn(
            name=column.name,
            type=f"{column.kind}[{column.size}]" if column.size else column.kind,
            description=column.about,
            constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=contract.key == (column.name,)),
        )
        for column in contract.columns
    ]
    if contract.geometry:
        columns.append(dg.TableColumn(name="geometry", type=" | ".join(contract.geometry), description="WGS 84"))
    return dg.TableSchema(columns=columns)


def column_lineage(table: str) -> dg.TableColumnLineage:
    """Return from which columns of which assets each column of a table is made, as Dagster shows it; roots have none."""
    deps = {}
    for column, sources in COLUMN_LINEAGE[table].items():
        parts = [source.split(".") for source in sources]
        deps[column] = [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in parts]
    return dg.TableColumnLineage(deps_by_column=deps)


def spec_of(contract: TableContract, *, group: str, kinds: set[str], code_version: str = "1") -> dict[str, Any]:
    """Return the keyword arguments that every table's asset shares.

    Args:
        contract: The table.
        group: Room and asset group.
        kinds: What the UI shows as badges.
        code_version: Raise it when the same inputs give other rows.

    Returns:
        Arguments for `dg.AssetSpec`, or, through `sheet`, for `dg.asset`.
    """
    return {
        "group_name": group,
        "kinds": {"parquet", *kinds} if not contract.geometry else {"geoparquet", *kinds},
        "owners": OWNERS,
        "code_version": code_version,
        "metadata": {"dagster/column_schema": column_schema(contract), "one row is": contract.about},
    }


def sheet(
    contract: TableContract,
    *,
    group: str,
    kinds: set[str],
    code_version: str = "1",
    checks: Sequence[dg.AssetCheckSpec] = (),
) -> dict[str, Any]:
    """Return `spec_of` for a table that is an asset by itself, with the check of its contract and others of its own."""
    return {
        **spec_of(contract, group=group, kinds=kinds, code_version=code_version),
        "check_specs": [contract_check(contract.name), *checks],
    }


def table_paths(pipeline: Pipeline, key: str, artefacts: Iterable[str]) -> list[Path]:
    """Return the table files of artefacts named `key/partition`, in their order."""
    return [pipeline.home.table(key, name.split("/", 1)[1]) for name in artefacts if name.startswith(f"{key}/")]
