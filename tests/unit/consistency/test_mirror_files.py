# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit and the configuration of a mirror close what was not opened."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROOT = Path(__file__).resolve().parents[3]
UNIT, CONFIGURATION = ROOT / "templates/venom-mirror.service.j2", ROOT / "roles/mirror/templates/mirror.nginx.conf.j2"
LOOPBACK = {"ip": "127.0.0.1", "is_loopback": True, "networks": []}
FLEET = {"ip": "10.0.0.11", "is_loopback": False, "networks": ["10.0.0.0/24"]}
TLS = {"venom_mirror_tls_certificate": "/etc/ssl/mirror.pem", "venom_mirror_tls_key": "/etc/ssl/private/mirror.pem"}


def render(template: Path, **overrides: t.Any) -> list[str]:
    """The lines of a template with the defaults of the roles and these overrides, without comments and indents."""
    variables: dict[str, t.Any] = {"_venom_mirror_seen": LOOPBACK}
    for role in ("host", "mirror"):
        for part in ("defaults", "vars"):
            variables.update(yaml.safe_load((ROOT / "roles" / role / part / "main.yml").read_text(encoding="utf-8")))
    variables = {**templating.trusted(variables), **overrides}
    text = str(templating.render(template.read_text(encoding="utf-8"), variables, [str(ROOT / "templates")], escape_backslashes=False))
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_by_default_it_is_for_this_host_only() -> None:
    unit, configuration = render(UNIT), render(CONFIGURATION)
    assert unit[-1] == "WantedBy=multi-user.target"
    assert {"IPAddressDeny=any", "IPAddressAllow=localhost", "User=venom", "LimitCORE=0", "CapabilityBoundingSet=", "Restart=on-failure"} <= set(unit)
    assert "listen 127.0.0.1:8470;" in configuration
    assert not [line for line in configuration if line.startswith(("allow", "auth_basic", "ssl", "limit_"))]


def test_beyond_loopback_both_filters_say_the_same() -> None:
    unit, configuration = render(UNIT, _venom_mirror_seen=FLEET), render(CONFIGURATION, _venom_mirror_seen=FLEET)
    wanted = ["127.0.0.0/8", "::1", "10.0.0.11", "10.0.0.0/24"]
    assert "IPAddressDeny=any" in unit and f"IPAddressAllow={' '.join(wanted)}" in unit
    assert [line for line in configuration if line.startswith(("allow", "deny"))] == [*(f"allow {each};" for each in wanted), "deny all;"]


def test_secrets_come_by_systemd_and_not_by_path() -> None:
    more = {**TLS, "venom_mirror_username": "fleet", "_venom_mirror_seen": FLEET}
    unit, configuration = render(UNIT, **more), render(CONFIGURATION, **more)
    assert [line for line in unit if line.startswith("LoadCredential")] == [
        "LoadCredential=certificate:/etc/ssl/mirror.pem",
        "LoadCredential=key:/etc/ssl/private/mirror.pem",
        "LoadCredential=htpasswd:/etc/venom/credentials/venom-mirror.htpasswd",
    ]
    assert "InaccessiblePaths=-/etc/venom/credentials" in unit
    assert "listen 10.0.0.11:8470 ssl;" in configuration
    assert "ssl_certificate_key /run/credentials/venom-mirror.service/key;" in configuration
    assert "auth_basic_user_file /run/credentials/venom-mirror.service/htpasswd;" in configuration
    assert not [line for line in configuration if "/etc/ssl" in line or "/etc/venom" in line]


def test_a_temporary_one_ends_by_itself_and_at_a_boot() -> None:
    unit = render(UNIT, venom_mirror_temporary="true", venom_mirror_lifetime="60")
    assert "RuntimeMaxSec=60" in unit and "ExecStart=/usr/sbin/nginx -c /run/venom/venom-mirror-temporary.nginx.conf" in unit
    assert not [line for line in unit if line.startswith(("Restart", "WantedBy"))]


@pytest.mark.parametrize(("ip", "wanted"), [("0.0.0.0", "listen 0.0.0.0:8480 ssl;"), ("fd00::11", "listen [fd00::11]:8480 ssl;")])
def test_addresses_of_both_families(ip: str, wanted: str) -> None:
    assert wanted in render(CONFIGURATION, **TLS, venom_mirror_port="8480", _venom_mirror_seen={**FLEET, "ip": ip})


def test_limits_are_there_when_they_are_asked_for() -> None:
    lines = render(CONFIGURATION, venom_mirror_rate="50m", venom_mirror_connections="16")
    assert {"limit_rate 50m;", "limit_conn addresses 16;", "limit_conn_status 429;"} <= set(lines)
