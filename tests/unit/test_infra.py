"""What is committed under infra/: generated files are those of their source; alerts and panels explain themselves."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.build import generated
from infra.configuration import groups
from infra.grafana.board import Panel
from infra.grafana.boards import BOARDS
from infra.linters import dockerfiles, scripts
from services.core.settings import Settings
from tests.watch.expressions import INFRA, expressions, rules

ROOT = Path(__file__).parents[2]
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PANELS = [pytest.param(panel, id=f"{board.uid}-{panel.title}") for board in BOARDS for panel in board.panels]


def test_generated_files_are_those_of_their_source() -> None:
    files = generated()
    old = [path.name for path, text in files.items() if path.read_text(encoding="utf-8") != text]
    assert not old, "run `python -m infra.build`"
    in_chart = INFRA / "k8s" / "capstone" / "files"
    for folder in (INFRA / "grafana" / "dashboards", in_chart / "dashboards", in_chart / "rules"):
        assert set(folder.iterdir()) == {path for path in files if path.parent == folder}, "nothing else is in there"


def test_every_setting_is_explained_in_a_group() -> None:
    assert sorted(name for group in groups() for name in group.fields) == sorted(Settings.model_fields)
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("panel", PANELS)
def test_panels_explain_themselves(panel: Panel) -> None:
    assert panel.title and panel.description.endswith(".") and panel.queries, panel.title
    raised = re.findall(r"raises? (\w+)", panel.description)
    assert not raised or panel.limit is not None, "what raises an alert has a threshold"
    assert set(raised) <= ALERTS.keys(), raised


def test_panels_have_titles_of_their_own() -> None:
    assert len({where for where, _ in expressions()}) == len(list(expressions()))


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_alerts_say_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert section in [heading.lower().replace(" ", "-") for heading in headings]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = Counter(
        (one["alertname"], bool(one["exp_alerts"]))
        for path in (INFRA / "prometheus" / "tests").glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for one in test["alert_rule_test"]
    )
    assert cases.keys() == {(name, fires) for name in ALERTS for fires in (True, False)}


def test_what_asks_for_a_retraining_reaches_the_service_that_retrains() -> None:
    asking = {name for name, rule in ALERTS.items() if rule["labels"].get("loop") == "retrain"}
    assert asking == {"DriftDetected", "AnswerQualityLow"}
    config = yaml.safe_load((INFRA / "alertmanager" / "alertmanager.yml").read_text())
    (route,) = [route for route in config["route"]["routes"] if route["receiver"] == "retraining"]
    assert route["matchers"] == ['loop="retrain"'] and route["continue"]
    (receiver,) = [one for one in config["receivers"] if one["name"] == "retraining"]
    (webhook,) = receiver["webhook_configs"]
    assert webhook["url"] == "http://eval:8000/v1/alerts"
    assert "credentials_file" in webhook["http_config"]["authorization"]


def test_nothing_leaves_the_machine() -> None:
    config = yaml.safe_load((INFRA / "alertmanager" / "alertmanager.yml").read_text())
    (local,) = [one for one in config["receivers"] if one["name"] == config["route"]["receiver"]]
    assert local == {"name": "local"}
    assert {one["name"] for one in config["receivers"]} == {"local", "retraining"}


def test_every_script_and_dockerfile_is_judged() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    shells = {path for path in files if path.is_file() and re.match(rb"#!.*\b(ba|da)?sh\b", path.read_bytes()[:40])}
    assert len(shells) > 5 and shells == set(scripts())
    assert {path for path in files if path.name.startswith("Dockerfile")} == set(dockerfiles())
