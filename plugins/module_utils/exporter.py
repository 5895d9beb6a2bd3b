# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's metrics as a file for node_exporter: whole or not there, and one that says so when the host could not be read."""
from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import control, files, host_report, metrics

MODE = 0o644


def collect(params: t.Mapping[str, t.Any]) -> list[metrics.Sample]:
    """Everything that is known of this host now; ``params`` are options of ``venom_runtime_info``, and ``max_disk_gb``."""
    found = metrics.of_host(host_report.describe(params["models_dir"], params["config_dir"], params["max_disk_gb"]))
    # No completion: a metric that is taken twice a minute must not cost the model's time.
    for status in control.inspect(dict(params, name=None, probe=False))["runtimes"].values():
        found += metrics.of_runtime(status)
    return found


def export(path: str, params: t.Mapping[str, t.Any], gather: t.Callable[[t.Mapping[str, t.Any]], list[metrics.Sample]] = collect) -> None:
    """Write the file. What cannot be read makes ``venom_scrape_success`` 0 in it, and is raised afterwards, for the journal.

    Raises also ``OSError`` when the file cannot be written; the old one then grows stale, which an alert tells.
    """
    begun = time.monotonic()
    samples: list[metrics.Sample] = []
    failure: Exception | None = None
    try:
        samples = gather(params)
    # Whatever it was: a file with old figures and no word of the failure is the worst answer.
    except Exception as error:  # noqa: BLE001
        failure = error
    samples += metrics.of_scrape(failure is None, time.time(), time.monotonic() - begun, params["alert_percent"])
    files.write_atomic(os.path.abspath(path), metrics.render(samples).encode("utf-8"), MODE)
    if failure is not None:
        raise failure
