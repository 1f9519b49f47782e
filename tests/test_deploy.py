"""What deploys the pipeline, checked as far as that goes without the engines; PostgreSQL is really started."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks stand beside the tests
from benchmarks._postgres import SERVERS, postgres_server
from geoloc_pipeline.orchestration.needs import GIB, NEEDS, NETWORK

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("geoloc*"))
SECRETS = ("DAGSTER_POSTGRES_PASSWORD", "GEOLOC_QDRANT_API_KEY", "MAPILLARY_ACCESS_TOKEN")


def load(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


COMPOSE = load(DEPLOY / "compose" / "compose.yaml")


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_yaml_file_can_be_read_and_names_no_key_twice(path):
    tool = Path(sys.executable).with_name("yamllint")
    assert list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    if not tool.exists():
        pytest.skip("yamllint is not installed")
    rules = "{rules: {key-duplicates: enable, anchors: enable, trailing-spaces: enable}}"
    done = subprocess.run([tool, "-d", rules, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_keeps_the_specification():
    tool = Path(sys.executable).with_name("check-jsonschema")
    if not tool.exists():
        pytest.skip("check-jsonschema, which brings the schema along, is not installed")
    path = DEPLOY / "compose" / "compose.yaml"
    done = subprocess.run([tool, "--builtin-schema", "vendor.compose-spec", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_service_is_watched_limited_and_waits_for_what_it_needs():
    assert set(COMPOSE["services"]) == {"postgres", "qdrant", "code", "daemon", "webserver"}
    for name, service in COMPOSE["services"].items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
        assert "no-new-privileges:true" in service["security_opt"], name
        for volume in service["volumes"]:
            assert volume.split(":")[0] in COMPOSE["volumes"], (name, volume)
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, name
            assert other in COMPOSE["services"], name
    for name in ("code", "daemon", "webserver"):
        assert COMPOSE["services"][name]["cap_drop"] == ["ALL"]
        assert COMPOSE["services"][name]["read_only"] is True


def test_one_port_is_published_and_to_this_machine_alone():
    ports = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert ports == {"webserver": ["127.0.0.1:3000:3000"]}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert COMPOSE["services"]["postgres"]["networks"] == COMPOSE["services"]["qdrant"]["networks"] == ["inside"]


def test_every_variable_that_a_file_asks_for_is_in_its_example_and_no_secret_has_a_value():
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")))
    for example in (DEPLOY / "compose" / ".env.example", DEPLOY / "systemd" / "environment.example"):
        lines = [line for line in example.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        told = dict(line.split("=", 1) for line in lines)
        assert not [name for name in SECRETS if told.get(name)]
        assert example.parent.name != "compose" or asked <= set(told)
    assert ".env" in (DEPLOY / "compose" / ".gitignore").read_text(encoding="utf-8").split()


def test_no_secret_stands_in_any_file():
    for path in [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".md"] + [ROOT / "Dockerfile"]:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.strip().partition("=" if "=" in line else ":")
            if re.search(r"(PASSWORD|TOKEN|API_KEY)$", name.strip()):
                assert re.fullmatch(r"\s*|\s*\$\{\w+(:[?-].*)?\}|\s*\{env: \w+\}", value), f"{path.name}: {line}"


def test_the_code_server_is_where_the_workspaces_look_for_it():
    for folder, host in (("compose", "code"), ("systemd", "127.0.0.1")):
        [entry] = load(DEPLOY / folder / "workspace.yaml")["load_from"]
        assert entry["grpc_server"] == {"host": host, "port": 4000, "location_name": "geoloc_pipeline"}
    assert "-p 4000" in (DEPLOY / "systemd" / "geoloc-code.service").read_text(encoding="utf-8")
    assert COMPOSE["services"]["code"]["command"][-4:] == ["-p", "4000", "-m", "geoloc_pipeline.definitions"]


def test_the_image_runs_as_nobody_special_and_copies_what_is_there():
    steps = _docker_steps((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert [value for word, value in steps if word == "USER"] == ["geoloc"]
    for image in [value.split()[0] for word, value in steps if word == "FROM"]:
        assert re.fullmatch(r"python:3\.\d+-slim-bookworm", image), "Docker's own library, with a version"
    for value in [value for word, value in steps if word == "COPY" and "--from" not in value]:
        for source in [part for part in value.split() if not part.startswith("--")][:-1]:
            assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "data", "**/.env"} <= set(ignored)


def _docker_steps(text: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(word, value) for word, value in (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    for path in UNITS:  # the programs that they start are not on this machine; everything else is as it is
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "geoloc" in line]
    assert said == [], done.stderr


@pytest.mark.parametrize("path", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_a_unit_gives_up_what_it_does_not_need(path):
    text = path.read_text(encoding="utf-8")
    for line in (
        "User=geoloc", "NoNewPrivileges=true", "ProtectSystem=strict", "ProtectHome=true", "PrivateTmp=true",
        "CapabilityBoundingSet=", "Restart=on-failure", "EnvironmentFile=/etc/geoloc/environment",
    ):  # fmt: skip
        assert line in text.splitlines(), line
    assert "0.0.0.0" not in text


def test_the_pods_of_kubernetes_are_no_root_and_share_one_home():
    values = load(DEPLOY / "kubernetes" / "values.yaml")
    claim, policy = yaml.safe_load_all((DEPLOY / "kubernetes" / "home.yaml").read_text(encoding="utf-8"))
    [code] = values["dagster-user-deployments"]["deployments"]
    launched = values["runLauncher"]["config"]["k8sRunLauncher"]
    for part in (code, launched):
        assert part["volumes"] == [{"name": "home", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}]
        assert part["volumeMounts"][0]["mountPath"] == code["env"][0]["value"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert policy["spec"]["podSelector"] == {}
    uid = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))[1]
    for part in (code, values["dagsterWebserver"], values["dagsterDaemon"]):
        assert part["podSecurityContext"]["runAsNonRoot"] is True
        assert part["podSecurityContext"]["runAsUser"] == int(uid)
        assert part["securityContext"]["allowPrivilegeEscalation"] is False


def pinned(package: str) -> str:
    return re.search(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]


def nodes_of_the_ray_cluster() -> dict[str, dict]:
    """What each group of nodes has, by its name: pod, container, memory in GiB, GPUs, and the resources that it declares."""
    spec = load(DEPLOY / "kubernetes" / "raycluster.yaml")["spec"]
    nodes = {}
    for group in ({"groupName": "head", **spec["headGroupSpec"]}, *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        limits = container["resources"]["limits"]
        nodes[group["groupName"]] = {
            "pod": pod,
            "container": container,
            "memory_gib": int(limits["memory"].removesuffix("Gi")),
            "gpus": limits.get("nvidia.com/gpu", 0),
            "declared": json.loads(json.loads(group["rayStartParams"].get("resources", '"{}"'))),
        }
    return nodes


def test_every_asset_finds_a_node_of_the_ray_cluster_that_can_hold_it():
    nodes = {name: node for name, node in nodes_of_the_ray_cluster().items() if name != "head"}
    for asset, needs in NEEDS.items():
        fits = [
            name
            for name, node in nodes.items()
            if needs.memory_bytes <= 0.7 * node["memory_gib"] * GIB  # Ray keeps three tenths for its store of objects
            and needs.gpus <= node["gpus"]
            and (NETWORK in node["declared"] or not needs.network)
        ]
        assert fits, asset


def test_the_nodes_of_the_ray_cluster_are_no_root_and_have_the_versions_that_were_tested():
    spec = load(DEPLOY / "kubernetes" / "raycluster.yaml")["spec"]
    assert spec["rayVersion"] == pinned("ray")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"  # no run on the head
    for node in nodes_of_the_ray_cluster().values():
        assert node["pod"]["securityContext"]["runAsNonRoot"] is True
        assert node["container"]["securityContext"]["allowPrivilegeEscalation"] is False
        assert {one["secretRef"]["name"] for one in node["container"]["envFrom"]} == {"geoloc-secrets"}
    chart = load(DEPLOY / "kubernetes" / "values-ray.yaml")
    custom = chart["runLauncher"]["config"]["customRunLauncher"]
    plain = load(DEPLOY / "ray" / "dagster.yaml")["run_launcher"]
    assert {"module": custom["module"], "class": custom["class"], "config": custom["config"]} == plain
    assert f"--version {pinned('dagster')} " in (DEPLOY / "kubernetes" / "values-ray.yaml").read_text(encoding="utf-8")


def test_qdrants_servers_fit_the_client_and_any_one_may_be_away():
    values = load(DEPLOY / "kubernetes" / "qdrant.yaml")
    server, client = (version.lstrip("v").split(".") for version in (values["image"]["tag"], pinned("qdrant-client")))
    assert server[0] == client[0]
    assert abs(int(server[1]) - int(client[1])) <= 1
    collection = values["config"]["storage"]["collection"]
    assert 1 < collection["replication_factor"] <= values["replicaCount"]
    assert values["podDisruptionBudget"]["maxUnavailable"] < collection["replication_factor"]


@pytest.fixture(scope="module")
def postgres():
    """What the environment has to say of a PostgreSQL server of its own."""
    if not SERVERS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("dagster_postgres", reason="pip install 'geoloc-pipeline[postgres]'")
    with postgres_server() as server:
        yield server.environment


def use_settings(kind, postgres, folder, monkeypatch):
    """Make a folder the DAGSTER_HOME of a deployment's own dagster.yaml."""
    for name, value in {**postgres, "DAGSTER_HOME": str(folder), "RAY_ADDRESS": "http://127.0.0.1:8265"}.items():
        monkeypatch.setenv(name, value)
    settings = (DEPLOY / kind / "dagster.yaml").read_text(encoding="utf-8")
    settings = settings.replace(
        "port: 5432", f"port: {postgres['DAGSTER_POSTGRES_PORT']}"
    )  # the compose file's is the usual one
    (folder / "dagster.yaml").write_text(settings, encoding="utf-8")


@pytest.mark.parametrize("kind", ["compose", "ray"])
def test_dagster_keeps_its_records_in_postgres(kind, postgres, tmp_path, monkeypatch):
    import dagster as dg

    use_settings(kind, postgres, tmp_path, monkeypatch)

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["13_tokyo", "47_okinawa"]))
    def table():
        return dg.MaterializeResult(metadata={"rows": 3}, data_version=dg.DataVersion("abc"))

    with dg.DagsterInstance.get() as instance:
        assert type(instance.run_storage).__module__.startswith("dagster_postgres")
        for partition in ("13_tokyo", "47_okinawa"):
            assert dg.materialize([table], instance=instance, partition_key=partition).success
    with dg.DagsterInstance.get() as again:
        assert again.get_materialized_partitions(dg.AssetKey("table")) == {"13_tokyo", "47_okinawa"}
        event = again.get_latest_materialization_event(dg.AssetKey("table"))
        assert event.asset_materialization.metadata["rows"].value == 3
        assert {run.status for run in again.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
    assert not list(tmp_path.rglob("*.db"))  # nothing in sqlite beside


RUN = """
import sys
import dagster as dg

names = [f"p{number}" for number in range(8)]

@dg.asset(partitions_def=dg.StaticPartitionsDefinition(names))
def many() -> None:
    return

with dg.DagsterInstance.get() as instance:
    assert dg.materialize([many], instance=instance, partition_key=sys.argv[1]).success
"""


@pytest.mark.parametrize("kind", ["compose", "ray"])
def test_eight_runs_at_once_write_their_records_to_postgres(kind, postgres, tmp_path, monkeypatch):
    import dagster as dg

    use_settings(kind, postgres, tmp_path, monkeypatch)
    with dg.DagsterInstance.get() as instance:
        names = [f"p{number}" for number in range(8)]
        runs = [subprocess.Popen([sys.executable, "-c", RUN, name], stderr=subprocess.PIPE, text=True) for name in names]
        for run in runs:
            _, said = run.communicate(timeout=180)
            assert run.returncode == 0, said
        assert instance.get_materialized_partitions(dg.AssetKey("many")) == set(names)


def test_every_dagster_yaml_is_taken_by_dagsters_own_loader(tmp_path, monkeypatch):
    from dagster._core.instance.config import dagster_instance_config

    for name in ("USER", "PASSWORD", "HOST", "DB"):
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", "x")
    monkeypatch.setenv("DAGSTER_POSTGRES_PORT", "5432")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for path in (ROOT / "dagster.yaml", ROOT / "dagster.demo.yaml", *sorted(DEPLOY.glob("*/dagster.yaml"))):
        shutil.copyfile(path, tmp_path / "dagster.yaml")
        config, _ = dagster_instance_config(str(tmp_path))
        assert config["telemetry"] == {"enabled": False}, path
