# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules, dashboard, page and exporter speak of the same metrics; the archive of the backend is what Python can import from."""
from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml

from ansible_collections.venom.llm.plugins.module_utils.drift import KINDS
from ansible_collections.venom.llm.plugins.module_utils.metrics import FAMILIES

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles/monitoring/files"
_NAME = re.compile(r"\bvenom_[a-z0-9_]+\b")


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression of PromQL names; values of labels, in quotes, are none."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', expression)))


def rules() -> list[dict[str, t.Any]]:
    groups = yaml.safe_load((FILES / "venom.rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, t.Any]:
    board: dict[str, t.Any] = json.loads((FILES / "venom-dashboard.json").read_text(encoding="utf-8"))
    return board


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_rules_use_metrics_that_exist() -> None:
    assert len(rules()) >= 6
    for rule in rules():
        names = metrics_in(rule["expr"])
        assert names and names <= set(FAMILIES), rule["alert"]


def test_the_dashboard_uses_metrics_that_exist_and_leaves_none_of_the_servers_out() -> None:
    variables = [item["definition"] for item in dashboard()["templating"]["list"] if item["type"] == "query"]
    used = set().union(*map(metrics_in, [*expressions(), *variables]))
    assert used <= set(FAMILIES)
    assert {name for name in FAMILIES if name.startswith("venom_runtime_")} - used <= {"venom_runtime_alerts", "venom_runtime_served_model"}


def test_the_panels_have_their_own_places_and_numbers() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in panels:
        assert panel["targets"] and panel["title"] and all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_every_counter_is_used_as_one() -> None:
    for name, family in FAMILIES.items():
        assert (family.kind == "counter") == name.endswith("_total")
        for text in [*expressions(), *(rule["expr"] for rule in rules())]:
            if name.endswith("_total") and name in text:
                assert f"increase({name}" in text or f"rate({name}" in text


def test_the_page_lists_every_metric_and_alert() -> None:
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert [name for name in FAMILIES if f"`{name}`" not in page and f"`{name}{{" not in page] == []
    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in page] == []
    others = {"venom_host_info", *(f"venom_monitoring_{name}" for name in ("state", "textfile_dir", "interval", "alert_percent"))}
    assert metrics_in(page) - set(FAMILIES) - others == set()


def test_the_page_of_operations_lists_every_kind_of_drift() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def pack(folder: Path) -> Path:
    argv = [sys.executable, str(FILES / "pack.py"), str(ROOT / "plugins/module_utils"), str(folder)]
    return Path(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip())


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = pack(tmp_path / "a"), pack(tmp_path / "b")
    assert one.read_bytes() == other.read_bytes() and one.name == other.name
    assert pack(tmp_path / "a") == one and [path.name for path in (tmp_path / "a").iterdir()] == [one.name]


def test_the_exporter_runs_from_the_archive_alone(tmp_path: Path) -> None:
    """As on a host: no checkout, no Ansible, nothing but the three files."""
    pack(tmp_path).rename(tmp_path / "backend.zip")
    (tmp_path / "export.py").write_bytes((FILES / "export.py").read_bytes())
    folders = {name: str(tmp_path / name) for name in ("models_dir", "config_dir", "log_dir", "run_dir")}
    params = dict(folders, supervisor="process", account="", max_disk_gb=50.0, alert_percent=85.0)
    (tmp_path / "settings.json").write_text(json.dumps({"textfile": str(tmp_path / "venom.prom"), "params": params}))
    done = subprocess.run([sys.executable, "-I", "-B", "-S", "export.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "venom_scrape_success 1\n" in (tmp_path / "venom.prom").read_text()


def test_no_reading_outlives_the_timer_and_writes_figures_that_were_removed() -> None:
    tasks = yaml.safe_load((ROOT / "roles/monitoring/tasks/absent.yml").read_text(encoding="utf-8"))
    stopped = [task["ansible.builtin.systemd_service"]["name"] for task in tasks if "ansible.builtin.systemd_service" in task]
    assert stopped == ["venom-monitoring.timer", "venom-monitoring.service"], "the timer first, or it begins another reading"
    assert "ansible.builtin.file" in tasks[-1]
