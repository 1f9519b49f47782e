"""How runs are handed to Ray's head, which here is a small HTTP server that answers as it is told."""

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

pytest.importorskip("dagster_ray", reason="pip install 'geoloc-pipeline[ray]'")
pytest.importorskip("ray.job_submission", reason="pip install 'geoloc-pipeline[ray]'")

from dagster._core.definitions.reconstruct import reconstructable
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.monitoring import run_monitoring

from geoloc_pipeline.orchestration.needs import RAY_TAG, ray_tags
from geoloc_pipeline.orchestration.running.ray_launcher import HANDED_IN_AFTER_S, ClusterRunLauncher


@dg.op
def nothing() -> None:
    return


@dg.job
def tiny() -> None:
    nothing()


class Head:
    """Answers as Ray's head does.

    Attributes:
        to_jobs: Status and text with which a job is answered that is handed in.
        to_questions: The same for questions after a job.
        got: Jobs that were handed in.
    """

    def __init__(self) -> None:
        self.to_jobs, self.to_questions, self.got = (200, "{}"), (404, "no such job"), []
        head = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                version = {"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "x"}
                self.answer(200, json.dumps(version)) if "version" in self.path else self.answer(*head.to_questions)

            def do_POST(self) -> None:
                head.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                told = {"job_id": "x", "submission_id": head.got[-1]["submission_id"]}
                self.answer(head.to_jobs[0], json.dumps(told) if head.to_jobs[0] == 200 else head.to_jobs[1])

            def answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def head(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    head = Head()
    yield head
    head.end()


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("records"))) as instance:
        yield instance


@pytest.fixture
def launcher(head, instance):
    launcher = ClusterRunLauncher(address=head.address, num_cpus=1)
    launcher.register_instance(instance)
    return launcher


def run_of(instance, *, status=DagsterRunStatus.STARTING, assets=(), tags=None):
    origin = reconstructable(tiny).get_python_origin()
    keys = frozenset(dg.AssetKey(asset) for asset in assets) or None
    return create_run_for_test(
        instance, job_name="tiny", status=status, job_code_origin=origin, asset_selection=keys, tags=tags or {}
    )


def launch(launcher, run) -> None:
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))


def test_a_run_of_assets_is_told_what_they_need(head, launcher, instance) -> None:
    launch(launcher, run_of(instance, assets=["geolocation_model", "label_vocabulary"]))
    [job] = head.got
    assert (job["entrypoint_num_gpus"], job["entrypoint_memory"]) == (1, 16 << 30)


def test_a_tag_of_ones_own_counts_more(head, launcher, instance) -> None:
    launch(launcher, run_of(instance, assets=["geolocation_model"], tags=ray_tags(["osm_dump"])))
    [job] = head.got
    assert job["entrypoint_resources"] == {"network": 1}
    assert not job.get("entrypoint_num_gpus")


def test_no_secret_is_handed_in(head, launcher, instance, monkeypatch) -> None:
    monkeypatch.setenv("MAPILLARY_ACCESS_TOKEN", "sesame")
    launch(launcher, run_of(instance))
    assert "sesame" not in json.dumps(head.got)


def test_a_head_that_is_away_lets_the_run_wait(head, launcher, instance) -> None:
    head.end()
    with pytest.raises(DagsterUserCodeUnreachableError, match="does not answer"):
        launch(launcher, run_of(instance))


def test_a_head_that_stumbles_lets_the_run_wait(head, launcher, instance) -> None:
    head.to_jobs = (503, "the dashboard agent is not there yet")
    with pytest.raises(DagsterUserCodeUnreachableError, match="takes no jobs"):
        launch(launcher, run_of(instance))


def test_a_job_that_the_head_has_got_already_is_no_fault(head, launcher, instance) -> None:
    head.to_jobs = (500, "ValueError: Job with submission_id dagster-run-x already exists.")
    launch(launcher, run_of(instance))
    assert len(head.got) == 1


def test_a_job_that_is_refused_fails_at_once(head, launcher, instance) -> None:
    head.to_jobs = (400, "entrypoint_num_cpus: not a number")
    with pytest.raises(RuntimeError, match="not a number"):
        launch(launcher, run_of(instance))


def test_a_run_whose_job_the_cluster_has_forgotten_is_given_up(launcher, instance) -> None:
    told = launcher.check_run_worker_health(run_of(instance, status=DagsterRunStatus.STARTED))
    assert told.status == WorkerStatus.FAILED


def test_a_run_that_nobody_can_be_asked_about_is_not_given_up(head, launcher, instance) -> None:
    head.to_questions = (500, "the dashboard is busy")
    told = launcher.check_run_worker_health(run_of(instance, status=DagsterRunStatus.STARTED))
    assert told.status == WorkerStatus.RUNNING


@pytest.mark.parametrize(("ago_s", "given_up"), [(HANDED_IN_AFTER_S + 5, True), (HANDED_IN_AFTER_S - 5, False)])
def test_a_run_whose_job_is_gone_before_it_began_is_given_up_after_a_while(
    launcher, instance, monkeypatch, ago_s, given_up
) -> None:
    run = run_of(instance, status=DagsterRunStatus.NOT_STARTED)
    monkeypatch.setattr(instance, "_run_launcher", launcher)
    starting = dg.DagsterEvent(event_type_value="PIPELINE_STARTING", job_name="tiny")
    instance.report_dagster_event(starting, run_id=run.run_id)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + ago_s)
    record = instance.get_run_record_by_id(run.run_id)
    run_monitoring.monitor_starting_run(instance, record, logging.getLogger())
    status = instance.get_run_by_id(run.run_id).status
    assert (status == DagsterRunStatus.FAILURE) is given_up


def test_the_tag_is_the_one_that_dagster_ray_reads() -> None:
    from dagster_ray.configs import USER_DEFINED_RAY_KEY

    assert RAY_TAG == USER_DEFINED_RAY_KEY
