# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators run every day, on two systemd hosts with a light server in the place of vLLM: verify and repair, figures, rollback,
diagnosis, stop. The tests are one story, in order.
"""

from __future__ import annotations

import tarfile
import typing as t
from pathlib import Path

import light_vllm
import pytest
from installs import wait_for
from light_vllm import UNIT, LightVllm
from operators import Operator, Run

from lab.hosts import Lab
from lab.hub import Hub

pytestmark = pytest.mark.hosts

HOSTS = ("lab1", "lab3")
LIMIT = ("--limit", ",".join(HOSTS))
AURORA, BOREALIS = "demo/tiny-aurora", "demo/tiny-borealis"
DECLARED: dict[str, t.Any] = {
    "venom_models": [{"name": AURORA, "alias": "tiny-aurora"}, {"name": BOREALIS, "alias": "tiny-borealis"}],
    "venom_active": {"vllm": AURORA},
    "venom_ollama_managed": False,
    **light_vllm.VARIABLES,
}
ACTIVE_ENV, VLLM_ENV = "/etc/venom/vllm.active.env", "/etc/venom/vllm.env"
FIGURES = "/var/lib/prometheus/node-exporter/venom.prom"
SECRET = "s3cr3tV4lue"
STRAY = "import http.server as h; h.HTTPServer(('127.0.0.1', 8001), h.BaseHTTPRequestHandler).serve_forever()"
Lights = dict[str, LightVllm]


@pytest.fixture(scope="module")
def lights(lab: Lab) -> t.Iterator[Lights]:
    """The light server on each host."""
    found = light_vllm.on(lab, HOSTS)
    yield found
    for light in found.values():
        light.sh("systemctl stop stray venom-monitoring.timer; rm -rf /etc/systemd/system/venom-monitoring.* /opt/venom/monitoring", check=False)
        light.clean()


def said(run: Run) -> dict[str, str]:
    """What each host failed with."""
    return {line["host"]: str(line["result"].get("msg")) for line in run.failures()}


def figures(light: LightVllm) -> dict[str, float]:
    """The metrics of the host, read anew."""
    light.sh("systemctl start venom-monitoring.service", check=False)
    lines = (line for line in light.sh(f"cat {FIGURES}").splitlines() if not line.startswith("#"))
    return {name: float(value) for name, dummy, value in (line.rpartition(" ") for line in lines)}


def mended(run: Run) -> list[tuple[str, str]]:
    return [(host, task) for host, task in run.changed() if "Activate the recorded model" in task]


def test_a_site_whose_figures_are_exported(lights: Lights, operator: Operator) -> None:
    operator.play("site", *LIMIT, **DECLARED)
    announced = operator.play("monitoring", *LIMIT, "--check", **DECLARED)
    real = operator.play("monitoring", *LIMIT, **DECLARED)
    assert sorted(real.changed()) == sorted(announced.changed()) != []
    for light in lights.values():
        assert light.served() == ["tiny-aurora"]
        found = figures(light)
        assert found["venom_scrape_success"] == 1 and found['venom_runtime_alias_ok{runtime="vllm"}'] == 1
        assert light.sh("systemctl is-active venom-monitoring.timer").strip() == "active"
        assert light.sh(f"stat -c %a {FIGURES}").strip() == "644"
    assert operator.play("monitoring", *LIMIT, **DECLARED).changed() == []


def test_hosts_made_wrong_by_hand_are_found_and_mended(lights: Lights, operator: Operator) -> None:
    one, other = lights["lab1"], lights["lab3"]
    one.sh(f"sed -i 's/tiny-aurora$/somebody-else/' {ACTIVE_ENV} && systemctl disable {UNIT} && systemctl restart {UNIT}")
    other.sh(f"sed -i 's/^VENOM_VLLM_SERVED_NAME=.*/VENOM_VLLM_SERVED_NAME=nobody/' {ACTIVE_ENV} && echo EXTRA=1 >> {VLLM_ENV}")
    one.wait_served("somebody-else")
    found = figures(one)
    assert found['venom_runtime_alias_ok{runtime="vllm"}'] == 0 and found['venom_runtime_drift{runtime="vllm",kind="not_enabled"}'] == 1

    checked = said(operator.play("verify", "--check", *LIMIT, expect=2, **DECLARED))
    assert said(operator.play("verify", *LIMIT, expect=2, **DECLARED)) == checked
    assert "alias_mismatch" in checked["lab1"]
    assert "wanted tiny-aurora from" in checked["lab1"] and "found somebody-else from" in checked["lab1"] and "not_enabled" in checked["lab1"]
    assert "configuration_differs" in checked["lab3"] and "nobody" in checked["lab3"] and "settings_changed" in checked["lab3"]

    pids = {host: light.pid() for host, light in lights.items()}
    announced = operator.play("verify", "--check", *LIMIT, venom_verify_repair=True, **DECLARED)
    assert {host: light.pid() for host, light in lights.items()} == pids and one.served() == ["somebody-else"], "a check mends nothing"
    repaired = operator.play("verify", *LIMIT, venom_verify_repair=True, **DECLARED)
    assert sorted(mended(repaired)) == sorted(mended(announced)) and {host for host, dummy in mended(repaired)} == set(HOSTS)
    for light in lights.values():
        assert light.served() == ["tiny-aurora"] and light.sh(f"systemctl is-enabled {UNIT}").strip() == "enabled"
        assert not [name for name in figures(light) if name.startswith("venom_runtime_drift")]


def test_a_stopped_server_is_started_and_a_stray_one_is_named_and_left_alone(lights: Lights, operator: Operator) -> None:
    one, other = lights["lab1"], lights["lab3"]
    one.sh(f"systemctl stop {UNIT}")
    other.sh(f"systemctl stop {UNIT}; systemd-run --unit=stray python3 -c \"{STRAY}\"")
    wait_for(lambda: ":8001" in other.sh("ss -Hltn 'sport = :8001'"))
    stray = other.sh("systemctl show -p MainPID --value stray").strip()
    run = operator.play("verify", *LIMIT, venom_verify_repair=True, expect=2, **DECLARED)
    assert one.served() == ["tiny-aurora"] and set(said(run)) == {"lab3"}
    assert f"pid {stray}, unit stray.service" in run.output and "stray_server" in run.output and "port_in_use" in run.output
    assert other.sh(f"cat /proc/{stray}/cmdline", check=False), "what this collection did not start lives on"
    other.sh("systemctl stop stray")
    assert operator.play("verify", *LIMIT, venom_verify_repair=True, **DECLARED).failures() == []
    assert other.served() == ["tiny-aurora"]


def test_rollback_goes_to_the_model_before_without_a_download(lights: Lights, operator: Operator, hub: Hub) -> None:
    operator.play("activate", *LIMIT, **dict(DECLARED, venom_active={"vllm": BOREALIS}))
    assert [light.served() for light in lights.values()] == [["tiny-borealis"], ["tiny-borealis"]]
    asked = len(hub.log.entries())
    announced = operator.play("rollback", "--check", *LIMIT, venom_rollback_runtimes="vllm", **DECLARED)
    assert lights["lab1"].served() == ["tiny-borealis"]
    real = operator.play("rollback", *LIMIT, **DECLARED)
    assert sorted(real.changed()) == sorted(announced.changed()) and {host for host, dummy in real.changed()} == set(HOSTS)
    assert [light.served() for light in lights.values()] == [["tiny-aurora"], ["tiny-aurora"]]
    assert len(hub.log.entries()) == asked


def test_diagnosis_of_a_good_and_of_a_half_broken_host(lights: Lights, operator: Operator, tmp_path: Path) -> None:
    one, other = lights["lab1"], lights["lab3"]
    one.sh(f"cp {VLLM_ENV} /root/kept; echo 'VLLM_API_KEY={SECRET} and more' >> {VLLM_ENV}; echo 'GET /?token={SECRET}' >> /var/log/venom/vllm.log")
    other.sh("cp /etc/venom/runtime.json /root/kept; echo '{' > /etc/venom/runtime.json")
    other.sh("mkfifo /var/log/venom/pipe.log; mv /usr/bin/ss /usr/bin/ss.away")
    folder = tmp_path / "case"
    try:
        operator.play("diagnose", "--check", *LIMIT, venom_diagnose_dest=str(folder), **DECLARED)
    finally:
        one.sh(f"cp /root/kept {VLLM_ENV}")
        other.sh("cp /root/kept /etc/venom/runtime.json; rm /var/log/venom/pipe.log; mv /usr/bin/ss.away /usr/bin/ss")
    archives = sorted(folder.iterdir())
    assert [path.name.partition("-")[0] for path in archives] == ["lab1", "lab3"] and all(path.stat().st_size < 2_000_000 for path in archives)
    texts = []
    for path in archives:
        with tarfile.open(path) as archive:
            texts.append({member.name.partition("/")[2]: archive.extractfile(member).read().decode() for member in archive})  # type: ignore[union-attr]
    good, broken = texts
    assert [name for name, text in good.items() if SECRET in text or "and more" in text] == []
    assert "VLLM_API_KEY=***" in good["config/vllm.env"] and "Active: active (running)" in good["units/venom-vllm.status"]
    assert "stand_in_vllm.py" in good["processes"] and ":8001" in good["ports/listening"] and '"tiny-aurora"' in good["answers/runtimes.json"]
    assert "runtime.json" in broken["answers/runtimes.json"] and "io_error" in broken["answers/runtimes.json"]
    assert "ss is not on this host" in broken["index.json"] and "stand_in_vllm.py" in broken["processes"]
    assert all(light.sh("ls /tmp | grep -c venom-diagnose || true").strip() == "0" for light in lights.values())


def test_stop_leaves_nothing_and_the_table_says_so(lab: Lab, lights: Lights, operator: Operator) -> None:
    operator.play("stop", *LIMIT, **DECLARED)
    for light in lights.values():
        assert light.pid() == 0 and light.sh("ss -Hltn 'sport = :8001'") == "" and light.sh("pgrep -f '[s]tand_in_vllm'", check=False) == ""
        assert figures(light)['venom_runtime_up{runtime="vllm"}'] == 0
    assert operator.play("stop", *LIMIT, **DECLARED).changed() == []
    table = operator.play("status", *LIMIT, **DECLARED).output
    assert table.count(" vllm    offline ") == 2 and "drift: not_running" in table
    # Stopped is not disabled: what was committed serves after the next boot.
    lab.reboot("lab1")
    lights["lab1"].wait_served("tiny-aurora")


def test_figures_of_a_host_that_cannot_be_read_and_their_end(lights: Lights, operator: Operator) -> None:
    light = lights["lab1"]
    light.sh("cp /etc/venom/runtime.json /root/kept; echo '{' > /etc/venom/runtime.json")
    found = figures(light)
    assert found["venom_scrape_success"] == 0 and not [name for name in found if name.startswith("venom_runtime_")]
    assert "runtime.json" in light.sh("journalctl --no-pager -u venom-monitoring -n 30")
    light.sh("cp /root/kept /etc/venom/runtime.json")
    assert figures(light)["venom_scrape_success"] == 1
    announced = operator.play("monitoring", *LIMIT, "--check", venom_monitoring_state="absent", **DECLARED)
    gone = operator.play("monitoring", *LIMIT, venom_monitoring_state="absent", **DECLARED)
    assert sorted(gone.changed()) == sorted(announced.changed()) != []  # hosts answer in any order
    for each in lights.values():
        left = each.sh(f"ls {FIGURES} /opt/venom/monitoring /etc/systemd/system/venom-monitoring.* 2>/dev/null", check=False)
        assert left == "" and "venom-monitoring" not in each.sh("systemctl list-timers --all --no-pager")
    assert operator.play("monitoring", *LIMIT, venom_monitoring_state="absent", **DECLARED).changed() == []
