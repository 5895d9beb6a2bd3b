# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an activation refuses before anything is touched: a unit that does not start, a model that is not there."""
from __future__ import annotations

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import Activation
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base


def refuse_unit(supervisor: base.Supervisor, runtime: str, service: base.ServiceState) -> None:
    """Raise ``not_installed`` for a unit that no role has installed, ``supervisor_failed`` for one that would not start any more."""
    if not service.installed:
        raise VenomError(
            "not_installed",
            wanted=f"the unit {supervisor.unit}",
            found="systemd does not know it",
            todo=f"run the role venom.llm.{runtime} first",
            unit=supervisor.unit,
        )
    if service.unstartable:
        unmask = f"systemctl unmask {supervisor.unit}, or leave the runtime out"
        raise VenomError(
            "supervisor_failed",
            wanted=f"the unit {supervisor.unit} ready to be started",
            found=f"it is {service.unstartable}: {service.detail}",
            todo=unmask if service.unstartable == "masked" else f"see systemctl status {supervisor.unit} on the host",
            unit=supervisor.unit,
        )


def folder_missing(target: Activation) -> VenomError:
    """The refusal to serve a model that is not there."""
    return VenomError(
        "not_installed",
        wanted=f"{target.model} in {target.path}",
        found="the folder is not there",
        todo="install it: venom_model with state present",
        path=target.path,
    )
