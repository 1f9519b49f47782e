"""Dagster's own code server, webserver and daemon on fresh records, as processes, asked over GraphQL as the UI asks them.

Belongs here: what an operator's browser and shell do; the benchmark of backfills and its tests use it.
Does not belong here: which world they work on, and what is measured.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from geoloc_pipeline.storage.layout import Home

ROOT = Path(__file__).parents[1]
LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "geoloc_pipeline"}
PATIENCE_S = 600.0
"""How long anything may take before it counts as stuck; other people's processes may hold the cores."""
RESULT = "... on PythonError {message stack} ... on UnauthorizedError {message}"
QUICK_TICK_S = 2
QUICK_DAEMON = f"""
import dagster._daemon.controller as controller
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = {QUICK_TICK_S}
from dagster._daemon.cli import main
main()
"""
"""The daemon itself, which looks at backfills every two seconds instead of every thirty."""


class StuckError(RuntimeError):
    """The server did not do what it was asked; the message ends with its logs."""


@dataclass(frozen=True)
class RunTold:
    """What Dagster tells of a run.

    Attributes:
        run_id: Its id.
        status: `SUCCESS`, `FAILURE`, …
        tags: Its tags.
        seconds: From start to end, on the clock.
        assets: Asset keys that it was to make.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    seconds: float
    assets: tuple[str, ...]

    @property
    def partition(self) -> str:
        """Partition key; a row of them as `first...last`."""
        row = [self.tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end")]
        return self.tags.get("dagster/partition") or "...".join(row)


def write_settings(folder: Path, *, concurrent_runs: int, quick: bool = False) -> None:
    """Make `folder` a DAGSTER_HOME on sqlite with the settings of the top-level `dagster.yaml`, records and all below it.

    Args:
        folder: Made where it is not there.
        concurrent_runs: Most runs at once.
        quick: Look at the queue every second instead of every other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "dagster.yaml").read_text(encoding="utf-8").replace("data/dagster", str(folder / "records"))
    text = re.sub(r"max_concurrent_runs: \d+", f"max_concurrent_runs: {concurrent_runs}", text)
    if quick:
        text = re.sub(r"dequeue_interval_seconds: \d+", "dequeue_interval_seconds: 1", text)
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")


def environment_of(home: Home, folder: Path) -> dict[str, str]:
    """Return the environment in which Dagster's commands work on a demo home, with their records in `folder`."""
    told = {"GEOLOC_HOME": str(home.root), "GEOLOC_PROFILE": "demo", "DAGSTER_HOME": str(folder)}
    return {**os.environ, **told, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def tool(name: str) -> str:
    """Return a program of this very environment."""
    return str(Path(sys.executable).with_name(name))


def run_tool(environment: dict[str, str], *command: str) -> str:
    """Run one of Dagster's commands at the top of the repository; return what it said.

    Raises:
        StuckError: It failed.
    """
    line = [tool(command[0]), *command[1:]]
    done = subprocess.run(
        line, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise StuckError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


@contextmanager
def dagster_server(
    home: Home,
    folder: Path,
    *,
    concurrent_runs: int = 3,
    quick: bool = False,
    settings: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Yield a code server, a webserver and a daemon that work on `home`, as `dagster dev` starts them; the block ends them.

    Args:
        home: The demo's home.
        folder: DAGSTER_HOME; empty.
        concurrent_runs: Most runs at once.
        quick: The daemon looks often; for tests, which would wait for most of their time.
        settings: Text of a `dagster.yaml` in place of the top-level one.
        environment: What those settings ask of the environment, and more.
    """
    write_settings(folder, concurrent_runs=concurrent_runs, quick=quick)
    if settings:
        (folder / "dagster.yaml").write_text(settings, encoding="utf-8")
    environment = {**environment_of(home, folder), **(environment or {})}
    run_tool(environment, "dagster", "instance", "info")
    code, web = free_ports(2)
    workspace = folder / "workspace.yaml"
    located = f"host: 127.0.0.1, port: {code}, location_name: {LOCATION['repositoryLocationName']}"
    workspace.write_text(f"load_from: [{{grpc_server: {{{located}}}}}]\n", encoding="utf-8")
    shared = ["-w", str(workspace)]
    commands = {
        "code": [
            tool("dagster"),
            "code-server",
            "start",
            "-m",
            "geoloc_pipeline.definitions",
            "-h",
            "127.0.0.1",
            "-p",
            str(code),
        ],
        "webserver": [tool("dagster-webserver"), "-h", "127.0.0.1", "-p", str(web), *shared],
        "daemon": [*([sys.executable, "-c", QUICK_DAEMON] if quick else [tool("dagster-daemon")]), "run", *shared],
    }
    server = Server(f"http://127.0.0.1:{web}/graphql", folder, environment, {})
    try:
        for name, command in commands.items():
            with server.log(name).open("w", encoding="utf-8") as stream:
                server.processes[name] = subprocess.Popen(
                    command, env=environment, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT
                )
            if name == "code":
                server.wait_for_port(code)
        server.wait_until_loaded()
        yield server
    finally:
        for process in server.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in server.processes.values():
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass(frozen=True)
class Server:
    """A running code server, webserver and daemon.

    Attributes:
        url: Of GraphQL.
        folder: DAGSTER_HOME.
        environment: For commands that shall speak of the same records.
        processes: `code`, `webserver` and `daemon`.
    """

    url: str
    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]]

    def log(self, name: str) -> Path:
        """Return the file that takes what one of the processes says."""
        return self.folder / f"{name}.log"

    def logs(self) -> str:
        """Return the last of what all have said."""
        said = {name: self.log(name).read_text(encoding="utf-8", errors="replace")[-6000:] for name in self.processes}
        return "\n".join(f"--- {name}\n{text}" for name, text in said.items())

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the data that GraphQL answers.

        Raises:
            StuckError: It answers with an error, or does not answer.
        """
        try:
            told = httpx.post(self.url, json={"query": query, "variables": variables}, timeout=120, trust_env=False).json()
        except httpx.HTTPError as error:
            raise StuckError(f"the webserver does not answer ({error!r})\n{self.logs()}") from error
        if told.get("errors"):
            raise StuckError(f"{query}\n{told['errors']}\n{self.logs()}")
        data: dict[str, Any] = told["data"]
        return data

    def wait_for_port(self, port: int) -> None:
        """Wait until something listens there.

        Raises:
            StuckError: Nothing does.
        """
        for _ in _until(PATIENCE_S):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        raise StuckError(f"nothing listens at port {port}\n{self.logs()}")

    def wait_until_loaded(self) -> None:
        """Wait until the code location is there.

        Raises:
            StuckError: It cannot be loaded, or a process has ended.
        """
        query = """{workspaceOrError {... on Workspace {locationEntries {
            locationOrLoadError {__typename ... on PythonError {message}}}}}}"""
        for _ in _until(PATIENCE_S):
            if any(process.poll() is not None for process in self.processes.values()):
                break
            with suppress(StuckError):
                entries = self.ask(query)["workspaceOrError"]["locationEntries"]
                told = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
                if told == ["RepositoryLocation"]:
                    return
                if "PythonError" in told:
                    break
        raise StuckError(f"the code location did not load\n{self.logs()}")

    def launch_run(
        self,
        job: str = "__ASSET_JOB",
        partition: str | None = None,
        *,
        assets: Sequence[str] = (),
        until: str | None = None,
        in_process: bool = False,
    ) -> str:
        """Launch one run as the launchpad does, or of some assets as `Materialize` does; return its id.

        Args:
            job: Its name.
            partition: Partition key.
            assets: Of a run without a job.
            until: Last partition of a row that begins with `partition`.
            in_process: All steps in the run's own process, which the jobs do by themselves.
        """
        query = f"""mutation ($params: ExecutionParams!) {{launchRun(executionParams: $params) {{
            __typename ... on LaunchRunSuccess {{run {{runId}}}} {RESULT}}}}}"""
        told = {"dagster/partition": partition}
        if until:
            told = {"dagster/asset_partition_range_start": partition, "dagster/asset_partition_range_end": until}
        tags = [{"key": key, "value": value} for key, value in told.items() if value]
        selector: dict[str, Any] = {"jobName": job, **LOCATION}
        if assets:
            selector["assetSelection"] = [{"path": [asset]} for asset in assets]
        config = {"execution": {"config": {"in_process": {}}}} if in_process else {}
        params = {"selector": selector, "runConfigData": config, "executionMetadata": {"tags": tags}}
        return str(self._granted(self.ask(query, params=params)["launchRun"], "LaunchRunSuccess")["run"]["runId"])

    def backfill_job(self, job: str, partitions: Sequence[str]) -> str:
        """Launch a backfill of a job, as its page does; return the backfill's id."""
        named = {"partitionSetName": f"{job}_partition_set", "repositorySelector": LOCATION}
        return self._backfill({"selector": named, "partitionNames": list(partitions), "fromFailure": False})

    def backfill_assets(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Launch a backfill of assets, as `Materialize` on the graph does; return the backfill's id."""
        keys = [{"path": [asset]} for asset in assets]
        return self._backfill({"assetSelection": keys, "partitionNames": list(partitions), "fromFailure": False})

    def _backfill(self, params: dict[str, Any]) -> str:
        query = f"""mutation ($params: LaunchBackfillParams!) {{launchPartitionBackfill(backfillParams: $params) {{
            __typename ... on LaunchBackfillSuccess {{backfillId}} {RESULT}}}}}"""
        told = self.ask(query, params=params)["launchPartitionBackfill"]
        return str(self._granted(told, "LaunchBackfillSuccess")["backfillId"])

    def rerun_failed(self, backfill: str) -> str:
        """Launch what `Re-execute from failure` on a backfill's page does; return the new backfill's id."""
        query = f"""mutation ($params: ReexecutionParams!) {{reexecutePartitionBackfill(reexecutionParams: $params) {{
            __typename ... on LaunchBackfillSuccess {{backfillId}} {RESULT}}}}}"""
        told = self.ask(query, params={"parentRunId": backfill, "strategy": "FROM_FAILURE"})["reexecutePartitionBackfill"]
        return str(self._granted(told, "LaunchBackfillSuccess")["backfillId"])

    def _granted(self, told: dict[str, Any], wanted: str) -> dict[str, Any]:
        if told["__typename"] != wanted:
            raise StuckError(f"{told}\n{self.logs()}")
        return told

    def backfills(self) -> set[str]:
        """Return the ids of all backfills."""
        query = "{partitionBackfillsOrError {... on PartitionBackfills {results {id}}}}"
        return {str(row["id"]) for row in self.ask(query)["partitionBackfillsOrError"]["results"]}

    def runs_of(self, backfill: str) -> list[RunTold]:
        """Return the runs of a backfill, by partition."""
        return self.runs(**{"dagster/backfill": backfill})

    def runs(self, **tags: str) -> list[RunTold]:
        """Return the runs with these tags (all without), by partition."""
        query = """query ($filter: RunsFilter) {runsOrError(filter: $filter) {... on Runs {results {
            runId status startTime endTime tags {key value} assetSelection {path} assets {key {path}}}}}}"""
        wanted = {"tags": [{"key": key, "value": value} for key, value in tags.items()]} if tags else {}
        rows = self.ask(query, filter=wanted)["runsOrError"]["results"]
        return sorted((_run_told(row) for row in rows), key=lambda run: (run.partition, run.run_id))

    def run(self, run_id: str) -> RunTold:
        """Return one run."""
        query = """query ($id: ID!) {runOrError(runId: $id) {... on Run {
            runId status startTime endTime tags {key value} assetSelection {path} assets {key {path}}}}}"""
        return _run_told(self.ask(query, id=run_id)["runOrError"])

    def moments_of(self, run_id: str) -> list[tuple[float, str, str]]:
        """Return what a run's log tells, in order: seconds since 1970, kind of event (empty: a line), and the words."""
        query = """query ($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {
            ... on MessageEvent {message timestamp eventType}}}}}"""
        events = [event for event in self.ask(query, id=run_id)["logsForRun"]["events"] if event]
        return [(float(event["timestamp"]) / 1000, event["eventType"] or "", event["message"]) for event in events]

    def wait_for_runs(self, run_ids: Sequence[str]) -> list[RunTold]:
        """Wait until runs have ended; return them in the order asked.

        Raises:
            StuckError: They do not end.
        """
        for _ in _until(PATIENCE_S):
            runs = [self.run(run_id) for run_id in run_ids]
            if all(run.status in {"SUCCESS", "FAILURE", "CANCELED"} for run in runs):
                return runs
        raise StuckError(f"runs do not end: {runs}\n{self.logs()}")

    def wait_for_backfill(self, backfill: str, *, patience_s: float = PATIENCE_S) -> str:
        """Wait until a backfill has ended; return its status (`COMPLETED_SUCCESS`, `COMPLETED_FAILED`, …).

        One that the command line has launched is `COMPLETED` when its runs are in the queue, whatever becomes of them.

        Raises:
            StuckError: It does not end.
        """
        query = """query ($id: String!) {partitionBackfillOrError(backfillId: $id) {
            __typename ... on PartitionBackfill {status error {message}}}}"""
        told: dict[str, Any] = {}
        for _ in _until(patience_s):
            told = self.ask(query, id=backfill)["partitionBackfillOrError"]
            if told.get("status") not in {"REQUESTED", "CANCELING", "FAILING"}:
                return str(told.get("status"))
        raise StuckError(f"the backfill does not end: {told}, {self.runs_of(backfill)}\n{self.logs()}")

    def partitions(self, asset: str) -> dict[str, set[str]]:
        """Return the partitions of an asset that Dagster calls `materialized` and `failed`."""
        query = """query ($keys: [AssetKeyInput!]) {assetNodes(assetKeys: $keys) {assetPartitionStatuses {
            ... on DefaultPartitionStatuses {materializedPartitions failedPartitions}}}}"""
        [node] = self.ask(query, keys=[{"path": [asset]}])["assetNodes"]
        told = node["assetPartitionStatuses"]
        return {"materialized": set(told["materializedPartitions"]), "failed": set(told["failedPartitions"])}

    def messages_of(self, run_id: str) -> list[str]:
        """Return every line of a run's log."""
        query = (
            """query ($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {... on MessageEvent {message}}}}}"""
        )
        return [str(event["message"]) for event in self.ask(query, id=run_id)["logsForRun"]["events"] if event]

    def errors_of(self, run_id: str) -> str:
        """Return what a run says of the steps that failed."""
        query = """query ($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {
            ... on ExecutionStepFailureEvent {stepKey error {message causes {message}}}
            ... on RunFailureEvent {message}}}}}"""
        events = self.ask(query, id=run_id)["logsForRun"]["events"]
        return "\n".join(str(event) for event in events if event)


def _run_told(row: dict[str, Any]) -> RunTold:
    keys = row["assetSelection"] or [asset["key"] for asset in row["assets"]]
    return RunTold(
        row["runId"],
        row["status"],
        {tag["key"]: tag["value"] for tag in row["tags"]},
        (row["endTime"] or 0.0) - (row["startTime"] or 0.0),
        tuple(sorted(key["path"][-1] for key in keys)),
    )


def _until(patience_s: float) -> Iterator[None]:
    """Yield once a second until patience ends."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        yield
        time.sleep(1.0)
