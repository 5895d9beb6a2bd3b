# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call returns, read off its plan."""
from __future__ import annotations

import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import KEEP, LocalAnswer, Step, show

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.models_limits import Budget


class Warner(t.Protocol):
    """Whoever shows warnings to the operator."""

    def warn(self, text: str) -> None:
        """Show one sentence."""


def unknown_plan(
    context: Warner, manifest: Manifest, requests: t.Sequence[Request], answers: t.Sequence[LocalAnswer], started: float
) -> dict[str, t.Any]:
    """The result of check mode on a host that cannot ask the source yet."""
    unknown = [str(request.ref) for request, answer in zip(requests, answers) if answer.step is None]
    context.warn(f"The backend's Python is not on this host yet, so files and bytes of {', '.join(unknown)} are not known in check mode.")
    result = make_result(context, manifest, [answer.step for answer in answers if answer.step], None, started)
    after = dict(result["diff"]["after"], **dict.fromkeys(unknown, "to be installed; files are not known yet"))
    result.update(changed=True, diff=dict(result["diff"], after=after))
    return result


def make_result(
    context: Warner,
    manifest: Manifest,
    steps: t.Sequence[Step],
    budget: Budget | None,
    started: float,
    bytes_fetched: int = 0,
    files_repaired: int = 0,
    operations: t.Sequence[dict[str, t.Any]] = (),
    bytes_by_source: t.Mapping[str, int] | None = None,
) -> dict[str, t.Any]:
    """The module's result, with ``changed`` and ``diff`` read off the steps."""
    for warning in manifest.warnings:
        context.warn(warning)
    by_source = dict(bytes_by_source or {})
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for step in steps:
        if step.action != KEEP:
            shown_before, shown_after = show(step)
            before.update(shown_before)
            after.update(shown_after)
    wanted = [entry for entry in (_final_entry(step, manifest) for step in steps) if entry is not None]
    bytes_total = sum(step.bytes_total for step in steps)
    return {
        "changed": any(step.action != KEEP for step in steps),
        "models": [entry.to_dict() for entry in wanted],
        "plan": [step.to_dict() for step in steps],
        "operations": list(operations),
        "bytes_total": bytes_total,
        "bytes_to_fetch": budget.to_fetch if budget else 0,
        "bytes_fetched": bytes_fetched,
        "bytes_kept": sum(step.bytes_kept for step in steps),
        "bytes_from_mirror": sum(length for source, length in by_source.items() if source != "origin"),
        "bytes_by_source": by_source,
        "bytes_free": budget.free if budget else None,
        "files_repaired": files_repaired,
        "seconds": round(time.monotonic() - started, 3),
        "diff": {"before_header": manifest.path, "after_header": manifest.path, "before": before, "after": after},
    }


def _final_entry(step: Step, manifest: Manifest) -> Entry | None:
    if step.after is None:
        return None
    return manifest.find(step.after.name, step.after.revision) or step.after
