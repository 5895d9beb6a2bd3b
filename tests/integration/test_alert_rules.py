# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert rules and the exporter's text, as Prometheus itself judges them: each alert fires for its cause, and none for a healthy host."""
from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import exporter, metrics
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "roles/monitoring/files/venom.rules.yml"
HOST = 'job="node",instance="gpu-1"'
VLLM = f'{HOST},runtime="vllm"'
HEALTHY = {
    f"venom_scrape_success{{{HOST}}}": "1x60", f"venom_scrape_timestamp_seconds{{{HOST}}}": "0+60x60",
    f"venom_alert_threshold_ratio{{{HOST}}}": "0.85x60", f"venom_runtime_up{{{VLLM}}}": "1x60", f"venom_runtime_expected{{{VLLM}}}": "1x60",
    f"venom_runtime_alias_ok{{{VLLM}}}": "1x60", f'venom_runtime_status{{{VLLM},status="degraded"}}': "0x60",
    f"venom_runtime_restarts_total{{{VLLM}}}": "1x60", f"venom_host_memory_used_bytes{{{HOST}}}": "80x60",
    f"venom_host_memory_total_bytes{{{HOST}}}": "100x60", f'venom_gpu_memory_used_bytes{{{HOST},gpu="0"}}': "80x60",
    f'venom_gpu_memory_total_bytes{{{HOST},gpu="0"}}': "100x60", f"venom_gpu_readable{{{HOST}}}": "1x60",
    f"venom_models_bytes{{{HOST}}}": "10x60", f"venom_models_limit_bytes{{{HOST}}}": "100x60",
}  # fmt: skip
#: What is otherwise on the host, and the alert that tells it; None for a state that is no alert.
CAUSES: list[tuple[str | None, dict[str, str]]] = [
    (None, {}),
    ("VenomRuntimeDown", {f"venom_runtime_up{{{VLLM}}}": "0x60"}),
    (None, {f"venom_runtime_up{{{VLLM}}}": "0x60", f"venom_runtime_expected{{{VLLM}}}": "0x60"}),
    ("VenomRuntimeDegraded", {f'venom_runtime_status{{{VLLM},status="degraded"}}': "1x60"}),
    ("VenomAliasMismatch", {f"venom_runtime_alias_ok{{{VLLM}}}": "0x60"}),
    ("VenomDrift", {f'venom_runtime_drift{{{VLLM},kind="not_enabled"}}': "1x60"}),
    (None, {f'venom_runtime_drift{{{VLLM},kind="not_running"}}': "1x60"}),
    ("VenomRestartStorm", {f"venom_runtime_restarts_total{{{VLLM}}}": "0+1x60"}),
    (None, {f"venom_runtime_restarts_total{{{VLLM}}}": "1x30 2x30"}),
    ("VenomMemoryHigh", {f"venom_host_memory_used_bytes{{{HOST}}}": "90x60"}),
    (None, {f"venom_host_memory_used_bytes{{{HOST}}}": "90x60", f"venom_alert_threshold_ratio{{{HOST}}}": "0.95x60"}),
    ("VenomGpuMemoryHigh", {f'venom_gpu_memory_used_bytes{{{HOST},gpu="0"}}': "92x60"}),
    ("VenomGpuUnreadable", {f"venom_gpu_readable{{{HOST}}}": "0x60"}),
    ("VenomModelsNearQuota", {f"venom_models_bytes{{{HOST}}}": "95x60"}),
    ("VenomScrapeFailed", {f"venom_scrape_success{{{HOST}}}": "0x60"}),
    ("VenomFiguresStale", {f"venom_scrape_timestamp_seconds{{{HOST}}}": "0x60"}),
]


@pytest.fixture(scope="module")
def promtool() -> str:
    done = subprocess.run(["bash", str(ROOT / "tests/tools/promtool.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"no promtool: it is in Debian's package prometheus\n{done.stderr}"
    return done.stdout.strip().splitlines()[-1]


def run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_are_rules(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "check", "rules", str(RULES))


def test_each_alert_fires_for_its_cause_alone(promtool: str, tmp_path: Path) -> None:
    names = {alert for alert, dummy in CAUSES if alert}
    tests = []
    for alert, changes in CAUSES:
        series = [{"series": series, "values": values} for series, values in {**HEALTHY, **changes}.items()]
        firing = f'count by (alertname) (ALERTS{{alertstate="firing",alertname=~"{"|".join(sorted(names))}"}})'
        samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
        test = {"interval": "1m", "input_series": series, "promql_expr_test": [{"expr": firing, "eval_time": "50m", "exp_samples": samples}]}
        tests.append(dict(test, name=f"{alert} by {sorted(changes)}"))
    # A file of rule tests is YAML, and JSON is YAML.
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in run(promtool, "test", "rules", str(path))


def test_every_alert_has_a_cause_here() -> None:
    alerts = {line.partition("alert: ")[2] for line in RULES.read_text(encoding="utf-8").splitlines() if "- alert: " in line}
    assert alerts == {alert for alert, dummy in CAUSES if alert}


def test_prometheus_reads_what_the_exporter_writes(promtool: str, tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    fake.install("lab/a")
    fake.activate("lab/a")
    params: dict[str, t.Any] = fake.params(alert_percent=85.0, max_disk_gb=50.0)
    try:
        exporter.export(str(tmp_path / "venom.prom"), params)
    finally:
        fake.call(state="stopped")
    text = (tmp_path / "venom.prom").read_text()
    assert run(promtool, "check", "metrics", stdin=text) == ""
    hostile = metrics.render([metrics.Sample("venom_runtime_served_model", 1, {"runtime": "vllm", "model": 'a"b\\c\nd'})])
    assert run(promtool, "check", "metrics", stdin=hostile) == ""
