# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change on trial: where it is kept until it is proved, so that a boot never meets it and a killed run leaves nothing half done.

The model on trial is named by a file in the folder of running things, which a boot empties; the committed one by the file that a
boot reads. ``runtime.json`` says what the trial is, before any of it is done.
"""
from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from ansible_collections.venom.llm.plugins.module_utils import envfile, files
from ansible_collections.venom.llm.plugins.module_utils.activation_names import drop_kept, merge, take_back
from ansible_collections.venom.llm.plugins.module_utils.activation_server import Server
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import committed_of
from ansible_collections.venom.llm.plugins.module_utils.program_link import ProgramLink
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, NameChange, RuntimeRecord, Trial
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Runtime

_ENVIRONMENT_MODE = 0o640


def active_of(runtime: Runtime, activation: Activation) -> Active:
    """The recorded model as its runtime names it."""
    return runtime.make_active(activation.alias, activation.path, activation.model)


def link_of(runtime: Runtime) -> ProgramLink:
    """The link that the runtime's program goes through. Raises ``invalid_option`` when it goes through none."""
    return ProgramLink.from_program(runtime.settings().program)


def present(server: Server) -> Trial | None:
    """The trial of the runtime that is recorded now."""
    return server.record().trials.get(server.runtime.name)


def begin(server: Server, trial: Trial) -> None:
    """Write down what is tried, then do it: the version, and the file that names the model. Raises ``OSError``."""
    save(server, trial)
    if trial.version:
        link_of(server.runtime).point(trial.version)
    if trial.activation is not None:
        write_environment(server.runtime, server.runtime.trial_path, active_of(server.runtime, trial.activation))


def add_name(server: Server, change: NameChange) -> None:
    """Write down a name before it is given: on trial with the model, else for good."""
    runtime = server.runtime

    def changed(record: RuntimeRecord) -> RuntimeRecord:
        trial = record.trials.get(runtime.name)
        if trial is None:
            return record.with_names(runtime.name, merge(runtime.spelling, record.names.get(runtime.name, ()), [change]))
        return record.with_trial(runtime.name, replace(trial, names=merge(runtime.spelling, trial.names, [change])))

    server.change_record(changed)


def revert(server: Server) -> None:
    """Take version and model back; what is configured then is what was committed. Raises ``OSError``."""
    trial = present(server)
    if trial is not None and trial.version:
        # Without settings there is no link to speak of, and nothing that could run.
        with contextlib.suppress(VenomError):
            link_of(server.runtime).point(trial.version_before)
    files.remove_if_there(server.runtime.trial_path)


def revert_names(server: Server) -> list[str]:
    """Take the names back that the trial gave. The server has to answer. Returns what was done."""
    trial, live = present(server), server.runtime.live()
    if trial is None or live is None or not trial.names:
        return []
    done = [take_back(live, server.runtime.spelling, change) for change in trial.names]
    rest = replace(trial, names=())
    # On a full disk they stay written down, and the next run finds that they are not ours any more.
    with contextlib.suppress(OSError):
        save(server, None if rest == Trial(begun_at=rest.begun_at) else rest)
    return done


def close(server: Server) -> None:
    """No trial any more, except for names that a server which does not answer could not give up yet."""
    trial = present(server)
    left = trial.names if trial is not None else ()
    save(server, Trial(names=left) if left else None)


def save(server: Server, trial: Trial | None) -> None:
    """Write the trial down, or that there is none."""
    server.change_record(lambda record: record.with_trial(server.runtime.name, trial))


def commit(server: Server, target: Activation | None) -> None:
    """Make what is tried the thing that a boot comes back to; the first write decides. Raises ``OSError``."""
    runtime = server.runtime
    if target is not None:
        write_environment(runtime, runtime.active_path, active_of(runtime, target))

    def changed(record: RuntimeRecord) -> RuntimeRecord:
        trial = record.trials.get(runtime.name) or Trial()
        names = merge(runtime.spelling, record.names.get(runtime.name, ()), trial.names)
        record = record.with_trial(runtime.name, None).with_names(runtime.name, names)
        return record if target is None else record.with_active(runtime.name, target)

    server.change_record(changed)
    files.remove_if_there(runtime.trial_path)
    if target is not None:
        write_environment(runtime, runtime.last_good_path, active_of(runtime, target))


def set_aside(server: Server) -> None:
    """Write down that the runtime is stopped on purpose. Raises ``OSError``."""
    server.change_record(lambda record: record.with_set_aside(server.runtime.name, True))


def drop_old_names(server: Server, alias: str) -> list[str]:
    """Take back the names that earlier activations gave and the present one does not use. The server has to answer."""
    runtime, live = server.runtime, server.runtime.live()
    names = server.record().names.get(runtime.name, ())
    old = [change for change in names if runtime.spelling(change.name) != runtime.spelling(alias)]
    if live is None:
        return []
    drop_kept(live)
    if not old:
        return []
    done = [take_back(live, runtime.spelling, change) for change in old]
    server.change_record(lambda record: record.with_names(runtime.name, [change for change in names if change not in old]))
    return done


def finish_commit(server: Server) -> Activation | None:
    """Complete a commit that was cut off behind its first write; the model, or None when there is no such commit."""
    record = server.record()
    committed = committed_of(server.runtime, record)
    if committed is None or committed.is_same_model(record.active.get(server.runtime.name)):
        return None
    commit(server, committed)
    return committed


def write_environment(runtime: Runtime, path: str, active: Active) -> None:
    """Write a file that names the model, whole or not at all. Raises ``OSError``."""
    # The service account reads the file through its group, which the role gave to the settings file beside it.
    uid, gid = (0, os.stat(runtime.settings_path).st_gid) if os.geteuid() == 0 else (None, None)
    content = "# Written by venom.llm at activation. Changes are lost.\n" + envfile.render(runtime.active_variables(active))
    files.make_folders(os.path.dirname(path))
    files.write_atomic(path, content.encode("utf-8"), mode=_ENVIRONMENT_MODE, uid=uid, gid=gid)
