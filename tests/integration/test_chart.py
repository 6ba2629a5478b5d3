"""The Helm chart, rendered by Helm and looked at: what a cluster would get, against the code, compose and the metrics.

`python -m infra.k8s.check` (in `make check`) holds each object against Kubernetes' schemas; the first test runs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from helm_python import HelmError
from starlette.routing import Mount, Route

from infra.k8s.check import CHART, PROFILES, VERSIONS, check_chart, mismatches, render, values_of
from services.api import app as api
from services.core.catalog import Catalog
from services.core.settings import Settings
from services.eval import app as evaluation
from services.ingest import app as ingest
from tests.server import ROOT

Object = dict[str, Any]
ON_A_VOLUME: Object = {"weights": {"from": "volume"}}
PLANS = {profile: values_of(profile) for profile in PROFILES} | {"volume": ON_A_VOLUME}
OWN = {"api", "ingest", "ingest-worker", "eval", "eval-worker"}
OUTSIDE = {"ingress": "clients", "monitoring": "monitoring"}  # namespaces, as values.yaml has them


@pytest.fixture(params=PLANS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(PLANS[request.param])


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """By name without that of the release."""
    return {one["metadata"]["name"].removeprefix("capstone-"): one for one in objects if one["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    return {
        name: one["spec"]["template"] for kind in ("Deployment", "Job") for name, one in of_kind(objects, kind).items()
    }


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for pod in pods(objects).values():
        for one in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            yield one["name"], one


def environment(container: Object) -> dict[str, str | None]:
    return {one["name"]: one.get("value") for one in container.get("env", [])}


def compose() -> Object:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_the_chart_is_well_for_every_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_chart() == 0, capsys.readouterr().out


def test_what_kubernetes_would_refuse_or_pass_over_is_found() -> None:
    deployment = of_kind(render({}), "Deployment")["api"]
    assert not list(mismatches(deployment))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["readynessProbe"] = container.pop("readinessProbe")
    assert all("readynessProbe" in said for said in mismatches(deployment))
    assert len(list(mismatches(deployment))) == len(VERSIONS)
    container["image"] = 7
    assert list(mismatches(deployment | {"apiVersion": "apps/v2"})) and list(mismatches({**deployment, "kind": "Depl"}))


def test_it_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == project


def test_every_container_has_few_rights(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, "CAPSTONE_PORT=tcp://... would be taken for a setting"
        security = spec["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == security["runAsGroup"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec["volumes"]:
            assert {"emptyDir", "persistentVolumeClaim", "secret"} & volume.keys(), (name, volume)
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], (name, volume)
            assert "secret" not in volume or volume["secret"]["defaultMode"] == 0o440, "its own group, by fsGroup"
    for name, one in containers(objects):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys() and one["resources"]["limits"]["memory"], name
    accounts = of_kind(objects, "ServiceAccount")
    assert [one["automountServiceAccountToken"] for one in accounts.values()] == [False]
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & {one["kind"] for one in objects}


def test_images_are_named_by_digest_or_version(objects: list[Object]) -> None:
    for name, one in containers(objects):
        assert re.fullmatch(r"capstone-[a-z-]+(:0\.1\.0|@sha256:[0-9a-f]{64})", one["image"]), name
    digest = "sha256:" + "a" * 64
    image = {"registry": "r.example.org/team/", "digests": {"api": digest}, "tag": "1.2"}
    found = {name: one["image"] for name, one in containers(render({"image": image}))}
    assert found["api"] == f"r.example.org/team/capstone-api@{digest}"
    assert found["ingest"] == "r.example.org/team/capstone-ingest:1.2"


def test_every_image_is_one_that_compose_builds(objects: list[Object]) -> None:
    built = {one["image"] for one in compose()["services"].values() if "build" in one}
    assert {one["image"].partition(":")[0] for _, one in containers(objects)} <= built


def test_settings_are_settings_and_none_is_a_secret(objects: list[Object]) -> None:
    fields = {f"CAPSTONE_{name.upper()}" for name in Settings.model_fields} | {"CAPSTONE_SECRETS_DIR"}
    in_images = set(
        re.findall(r"CAPSTONE_\w+", (ROOT / "infra" / "docker" / "Dockerfile").read_text().rpartition("\nENV ")[2])
    )
    wanted = compose()["x-settings"].keys() - in_images
    for name, one in containers(objects):
        given = environment(one)
        ours = {variable for variable in given if variable.startswith("CAPSTONE_")}
        assert ours <= fields, name
        assert name not in OWN or wanted <= ours, "what compose sets"
        assert not [value for value in given.values() if value and re.search(r"://[^/]*@", value)], name


def test_a_large_number_stays_one() -> None:
    (given,) = [
        environment(one)
        for name, one in containers(render({"settings": {"max_upload_bytes": 104857600, "capture_share": 0.5}}))
        if name == "api"
    ]
    assert (given["CAPSTONE_MAX_UPLOAD_BYTES"], given["CAPSTONE_CAPTURE_SHARE"]) == ("104857600", "0.5")
    values: dict[str, Any] = {name.removeprefix("CAPSTONE_").lower(): value for name, value in given.items() if value}
    assert Settings(**values)


def test_settings_of_one_workload_win_over_those_of_all() -> None:
    values = {
        "settings": {"log_level": "DEBUG", "torch_threads": 3},
        "workloads": {"eval": {"settings": {"log_level": "ERROR"}}},
    }
    found = {name: environment(one) for name, one in containers(render(values)) if name in OWN}
    assert found["eval"]["CAPSTONE_LOG_LEVEL"] == "ERROR" and found["api"]["CAPSTONE_LOG_LEVEL"] == "DEBUG"
    assert found["api"]["CAPSTONE_TORCH_THREADS"] == "3"


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"database_url": "postgresql://me:secret@there/db"}},
        {"settings": {"alert_token": "secret"}},
        {"image": {"tag": "latest"}},
        {"chroma": {"deploy": False}},
        {"mlflow": {"deploy": False}},
        {"workloads": {"api": {"replica": 2}}},
        {"workloads": {"chroma": {"replicas": 2}}},
        {"networkPolicies": {"clients": []}},
        {"secrets": {"existingSecret": ""}},
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: Object) -> None:
    with pytest.raises(HelmError):
        render(values)


def routes_of(app: FastAPI) -> Iterator[str]:
    """Each path that it answers, with names in the place of parameters."""
    yield from app.openapi()["paths"]
    for route in app.routes:
        if isinstance(route, Mount):
            yield f"{route.path}/one_1"
        elif isinstance(route, Route):
            yield route.path


def service_of(path: str, objects: list[Object]) -> str | None:
    """Whom an Ingress hands `path` to: the longest of the prefixes, by whole parts, and an exact one before all."""
    (ingress,) = of_kind(objects, "Ingress").values()
    found: tuple[int, str] | None = None
    for rule in ingress["spec"]["rules"][0]["http"]["paths"]:
        prefix = rule["path"]
        exact = path == prefix
        if exact or (rule["pathType"] == "Prefix" and path.startswith(prefix.rstrip("/") + "/")):
            found = max(found or (0, ""), (len(prefix) + exact, rule["backend"]["service"]["name"]))
    return found[1].removeprefix("capstone-") if found else None


def test_each_path_of_a_service_goes_to_it() -> None:
    settings, wrong = Settings(), []
    apps = {
        "api": api.create_app(settings),
        "ingest": ingest.create_app(settings),
        "eval": evaluation.create_app(settings),
    }
    objects = render({})
    for name, app in apps.items():
        for path in {re.sub(r"\{[^}]+\}", "one_1", path) for path in routes_of(app)}:
            found = service_of(path, objects)
            inside_only = path == "/metrics" or path.startswith("/v1/alerts")
            of_all = name != "api" and not path.startswith("/v1/")  # /docs and the probes of the others
            if inside_only and found not in (None, "api" if path != "/metrics" else None):
                wrong.append(f"{path} of {name} can be reached from outside, at {found}")
            elif not inside_only and not of_all and found != name:
                wrong.append(f"{path} of {name} goes to {found}")
    assert wrong == []
    assert not [path for path in api.create_app(settings).openapi()["paths"] if path.startswith("/v1/alerts")]
    assert service_of("/v1/documentsx", objects) == "api"


def test_who_listens_is_probed_where_it_answers(objects: list[Object]) -> None:
    own = set(api.create_app(Settings()).openapi()["paths"])
    foreign = {"chroma": "/api/v2/heartbeat", "mlflow": "/health"}
    for name, one in containers(objects):
        probes: dict[str, Any] = {kind: one.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")}
        if "ports" not in one:
            assert not any(probes.values()), name
            continue
        for kind, probe in probes.items():
            path = probe["httpGet"]["path"]
            assert probe["httpGet"]["port"] == one["ports"][0]["name"] == "http"
            assert path == foreign.get(name, "/readyz" if kind == "readiness" else "/livez"), name
            assert name in foreign or path in own
        startup = probes["startup"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 180, "as long as compose waits"
        service = of_kind(objects, "Service")[name]["spec"]["ports"][0]
        assert service["port"] == one["ports"][0]["containerPort"]


def arrows(objects: list[Object]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Who may call whom, by the policies of the callers and by those of the called. `*` is any address."""
    out, into = set(), set()
    for policy in of_kind(objects, "NetworkPolicy").values():
        own = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        if own is None:
            continue
        for rule in policy["spec"].get("egress", []):
            out |= {(own, peer) for peer in peers(rule.get("to"), rule["ports"])}
        for rule in policy["spec"].get("ingress", []):
            into |= {(peer, own) for peer in peers(rule["from"], rule["ports"])}
    return out, into


def peers(given: list[Object] | None, ports: list[Object]) -> Iterator[str]:
    outside = {5432: "postgres", 8000: "chroma", 5000: "mlflow", 443: "internet"}[ports[0]["port"]]
    for peer in given or [{}]:
        labels = peer.get("podSelector", {}).get("matchLabels", {})
        namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
        if "app.kubernetes.io/component" in labels:
            assert labels["app.kubernetes.io/instance"] == "capstone"
            yield labels["app.kubernetes.io/component"]
        else:
            yield OUTSIDE.get(namespace or "", outside)


def test_by_default_nothing_reaches_anything(objects: list[Object]) -> None:
    policy = of_kind(objects, "NetworkPolicy")["capstone"]["spec"]
    for name, pod in pods(objects).items():
        assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items(), name
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"} and "ingress" not in policy
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53], "names, and nothing else"


def test_the_arrows_are_those_of_composes_networks(objects: list[Object]) -> None:
    networks: dict[str, set[str]] = {}
    for name, one in compose()["services"].items():
        for network in one.get("networks", []):
            networks.setdefault(network, set()).add(name)
    shared = {pair for members in networks.values() for pair in product(members, members)}
    out, into = arrows(objects)
    inside = {pair for pair in out if pair[1] in {*OWN, "chroma", "mlflow"}}
    there = {pair for pair in inside if pair[1] in of_kind(objects, "Deployment")}
    callers = {pair for pair in into if pair[0] not in OUTSIDE.values()}
    assert there == callers, "both ends of each arrow agree"
    assert inside <= shared and ("eval-worker", "api") in inside
    for target, network in (("postgres", "catalog"), ("chroma", "vectors"), ("mlflow", "registry")):
        assert {caller for caller, called in out if called == target} & OWN == networks[network] & OWN, target
    assert {called for caller, called in out if caller == "mlflow"} <= {"postgres", "internet"}
    assert {caller for caller, called in out if called == "internet"} <= {"weights", "mlflow"}  # mlflow: its S3, if any
    routed = {name for caller, name in into if caller == "clients"}
    assert routed == {"api", "ingest", "eval"} == networks["services"] & set(of_kind(objects, "Service"))
    watched = {name for caller, name in into if caller == "monitoring"}
    assert watched == (routed if of_kind(objects, "ServiceMonitor") else set())


def test_only_the_weights_job_reaches_the_internet() -> None:
    objects = render(ON_A_VOLUME)
    assert {caller for caller, called in arrows(objects)[0] if called == "internet"} == {"weights"}
    (job,) = [one for name, one in of_kind(objects, "Job").items() if name.startswith("weights")]
    for name, pod in pods(objects).items():
        mounts = [mount for mount in pod["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "weights"]
        assert [mount.get("readOnly", False) for mount in mounts] in ([], [not name.startswith("weights")]), name
    given = environment(job["spec"]["template"]["spec"]["containers"][0])
    assert given["CAPSTONE_MODELS_DIR"] == "/weights/volume"


def test_traces_may_leave_where_they_are_wanted() -> None:
    values = {"settings": {"traces": "http://collector.traces.svc:4318/v1/traces"}}
    policies = of_kind(render(values), "NetworkPolicy")
    allowed = {
        name
        for name, one in policies.items()
        for rule in one["spec"].get("egress", [])
        if rule["ports"][0]["port"] == 4318
    }
    assert allowed == OWN


def test_a_service_and_its_worker_share_their_folder(objects: list[Object]) -> None:
    claims = of_kind(objects, "PersistentVolumeClaim")
    volumes = {
        name: volume["persistentVolumeClaim"]["claimName"].removeprefix("capstone-")
        for name, pod in pods(objects).items()
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "data" and "persistentVolumeClaim" in volume
    }
    for service in ("ingest", "eval"):
        assert volumes[service] == volumes[f"{service}-worker"]
        assert claims[volumes[service]]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "api" not in volumes
    for name, one in claims.items():
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", name


def test_the_schema_is_there_before_anything_of_a_new_version(objects: list[Object]) -> None:
    job = of_kind(objects, "Job")["migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (one,) = job["spec"]["template"]["spec"]["containers"]
    assert one["command"] == ["python", "-m", "services.core.migrate"]
    assert "serviceAccountName" not in job["spec"]["template"]["spec"], "at the first install there is none yet"


def test_its_command_makes_the_schema_and_may_come_again(tmp_path: Path) -> None:
    (one,) = of_kind(render({}), "Job")["migrate"]["spec"]["template"]["spec"]["containers"]
    command = [sys.executable, *one["command"][1:]]
    for _ in range(2):
        subprocess.run(command, env=dict(os.environ) | {"CAPSTONE_DATA_DIR": str(tmp_path)}, cwd=ROOT, check=True)
    with closing(Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")) as catalog:
        assert catalog.last_seq() == 0


def test_scaling_asks_for_metrics_that_exist_and_are_adapted() -> None:
    objects = render(values_of("ha"))
    scalers, queues = of_kind(objects, "HorizontalPodAutoscaler"), {}
    assert set(scalers) == OWN
    for name, one in scalers.items():
        assert one["spec"]["scaleTargetRef"]["name"] == f"capstone-{name}"
        assert "replicas" not in of_kind(objects, "Deployment")[name]["spec"], "the scaler's to say"
        for metric in one["spec"]["metrics"]:
            if metric["type"] == "Object":
                assert metric["object"]["describedObject"]["name"].removeprefix("capstone-") in of_kind(
                    objects, "Service"
                )
            if metric["type"] in ("Object", "Pods"):
                queues[name] = metric[metric["type"].lower()]["metric"]["name"]
    assert set(queues) == {"api", "ingest-worker", "eval-worker"}
    documented = set(re.findall(r"^\| `(\w+)` \| gauge", (ROOT / "docs" / "metrics.md").read_text(), re.M))
    assert set(queues.values()) <= documented
    adapter = yaml.safe_load((CHART.parent / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert {rule["name"]["as"] for rule in adapter} == set(queues.values())
    for rule in adapter:
        assert (
            rule["seriesQuery"].startswith(rule["name"]["as"] + "{")
            and rule["name"]["matches"] == f"^{rule['name']['as']}$"
        )


def test_several_stay_when_a_node_goes() -> None:
    assert set(of_kind(render(values_of("ha")), "PodDisruptionBudget")) == {"api", "ingest", "eval"}
    assert not of_kind(render({}), "PodDisruptionBudget"), "of one, it would keep a node from being emptied"


def test_prometheus_gets_our_rules_and_the_labels_that_they_need() -> None:
    objects = render(values_of("ha"))
    (rule,) = of_kind(objects, "PrometheusRule").values()
    ours = [
        group
        for path in sorted((ROOT / "infra" / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    assert rule["spec"]["groups"] == ours
    (monitor,) = of_kind(objects, "ServiceMonitor").values()
    spec = monitor["spec"]
    assert spec["jobLabel"] == "app.kubernetes.io/component", "`job` is api, ingest or eval, as in targets.yml"
    assert spec["endpoints"][0]["relabelings"] == [{"targetLabel": "app", "replacement": "capstone"}]
    (watched,) = spec["selector"]["matchExpressions"]
    labels = {name: one["metadata"]["labels"] for name, one in of_kind(objects, "Service").items()}
    assert {name for name in labels if labels[name][watched["key"]] in watched["values"]} == {"api", "ingest", "eval"}
    boards = [one["data"] for name, one in of_kind(objects, "ConfigMap").items() if name.startswith("board-")]
    committed = {path.name: path.read_text() for path in (ROOT / "infra" / "grafana" / "dashboards").glob("*.json")}
    assert {name: text for board in boards for name, text in board.items()} == committed


def test_on_gpus_the_models_and_nothing_else() -> None:
    objects = render(values_of("gpu"))
    on_gpu = {name for name, one in containers(objects) if "nvidia.com/gpu" in one["resources"]["limits"]}
    assert on_gpu == {"api", "ingest-worker"}
    for name, one in containers(objects):
        assert (
            (environment(one).get("CAPSTONE_DEVICE") == "cuda")
            == (name in on_gpu)
            == one["image"].endswith("-gpu:0.1.0")
        )
        assert name not in on_gpu or one["resources"]["limits"].keys() == {
            "cpu",
            "memory",
            "ephemeral-storage",
            "nvidia.com/gpu",
        }
    for name, pod in pods(objects).items():
        tolerated = [one["key"] for one in pod["spec"].get("tolerations", [])]
        assert tolerated == (["nvidia.com/gpu"] if name in on_gpu else []), name


def test_several_of_each_on_gpus() -> None:
    """`-f values-ha.yaml -f values-gpu.yaml`: whoever has a GPU is scaled by its queue alone."""
    ha, gpu = values_of("ha"), values_of("gpu")
    for name, workload in gpu["workloads"].items():
        scaling = ha["workloads"][name]["autoscaling"] | workload["autoscaling"]
        ha["workloads"][name] |= workload | {"autoscaling": scaling}
    objects = render(ha)
    assert not [said for one in objects for said in mismatches(one)]
    kinds = {
        name: {metric["type"] for metric in one["spec"]["metrics"]}
        for name, one in of_kind(objects, "HorizontalPodAutoscaler").items()
    }
    assert kinds["api"] == {"Pods"} and kinds["ingest-worker"] == {"Object"}
    assert kinds["eval-worker"] == {"Object"} and kinds["ingest"] == {"Resource"}


def test_s3_is_mlflows_alone() -> None:
    objects = render(values_of("ha"))
    for name, one in containers(objects):
        given = environment(one)
        assert bool([variable for variable in given if "S3" in variable or "AWS" in variable]) == (name == "mlflow")
    (one,) = [one for name, one in containers(objects) if name == "mlflow"]
    given, files = environment(one), "/run/secrets/"
    assert given["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://capstone-releases/mlflow"
    assert given["MLFLOW_S3_ENDPOINT_URL"] == "https://s3.example.org"
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "MLFLOW_BACKEND_STORE_URI_FILE"):
        assert str(given[name]).startswith(files), "no key is in the environment"
    assert given["MLFLOW_SERVER_ALLOWED_HOSTS"] == "capstone-mlflow,capstone-mlflow:5000"
    address = environment(next(one for name, one in containers(objects) if name == "api"))["CAPSTONE_MLFLOW_URI"]
    assert address == "http://capstone-mlflow:5000", "a name that MLflow answers to"
    assert "mlflow" not in of_kind(objects, "PersistentVolumeClaim")


def test_without_chroma_each_api_has_an_index_of_its_own() -> None:
    objects = render({"vectorStore": "faiss"})
    given = next(environment(one) for name, one in containers(objects) if name == "api")
    assert given["CAPSTONE_VECTOR_STORE"] == "faiss" and "CAPSTONE_CHROMA_URL" not in given
    assert not {"chroma"} & {
        name for kind in ("Deployment", "Service", "NetworkPolicy") for name in of_kind(objects, kind)
    }
    assert not [called for _, called in arrows(objects)[0] if called == "chroma"]


def test_of_several_releases_each_has_its_own() -> None:
    def names(release: str) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in render(values_of("ha"), name=release)}

    assert not names("one") & names("two")
    assert ("Deployment", "one-capstone-api") in names("one")
