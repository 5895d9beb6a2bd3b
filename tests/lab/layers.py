# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers: what one host has installed, kept read-only in the cache, for other hosts to boot on.

Installing vLLM takes more than a minute and 3.4 GB for each host; as a layer of an overlay it takes a mount.
"""
from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from lab import images
from lab.machine import Machine
from lab.record import HostSpec, write
from lab.settings import Settings
from lab.system import LabError, call, mounts


@dataclass(frozen=True)
class Layer:
    """One saved layer. ``below`` are the layers it needs under it, topmost first; ``image`` is the one it was made on."""

    name: str
    suite: str
    image: str
    below: tuple[str, ...]
    folder: Path

    @property
    def stack(self) -> tuple[str, ...]:
        return (str(self.folder / "disk"), *self.below)


def every(settings: Settings) -> tuple[Layer, ...]:
    """All layers in the cache, by name and suite."""
    found = []
    for file in sorted((settings.cache / "layers").glob("*/*/layer.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        found.append(Layer(file.parent.parent.name, file.parent.name, data["image"], tuple(data["below"]), file.parent))
    return tuple(found)


def find(settings: Settings, name: str, suite: str) -> Layer:
    """The layer of this name for this suite. Raises ``LabError`` when there is none, or when its image is not today's."""
    for layer in every(settings):
        if (layer.name, layer.suite) == (name, suite):
            if layer.image != images.path(settings, suite).name:
                raise LabError(f"layer {name} was made on image {layer.image}, and the image has changed: save it again")
            return layer
    known = ", ".join(f"{layer.name} ({layer.suite})" for layer in every(settings)) or "none"
    raise LabError(f"no layer {name!r} for {suite}: there are {known}")


def save(machine: Machine, name: str) -> Layer:
    """Make a layer of a stopped, unmounted host's disk. The disk is moved where it can be: the host then starts an empty one on top."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,40}", name):
        raise LabError(f"layer name {name!r}: wanted small letters, digits, dots and dashes")
    spec, settings = machine.spec, machine.settings
    folder = settings.cache / "layers" / name / spec.suite
    remove(settings, name, spec.suite)
    folder.mkdir(parents=True)
    # The journal is the story of one host; everything else that names a host is written anew, see Machine.identify.
    shutil.rmtree(machine.upper / "var/log/journal", ignore_errors=True)
    shutil.rmtree(machine.folder / "work", ignore_errors=True)
    try:
        machine.upper.rename(folder / "disk")
    except OSError:
        # Another file system. cp keeps what overlayfs needs: whiteouts (device 0:0) and trusted.overlay attributes.
        call(["cp", "-a", "--reflink=auto", str(machine.upper), str(folder / "disk")], timeout=900)
        shutil.rmtree(machine.upper)
    layer = Layer(name, spec.suite, Path(spec.image).name, spec.layers, folder)
    write(folder / "layer.json", json.dumps({"image": layer.image, "below": layer.below}, indent=2) + "\n")
    (machine.folder / "identified").unlink(missing_ok=True)
    return layer


def remove(settings: Settings, name: str, suite: str) -> bool:
    """Delete a layer; False when there is none. Raises ``LabError`` while a host or another layer stands on it."""
    folder = settings.cache / "layers" / name / suite
    if not folder.exists():
        return False
    disk = str(folder / "disk")
    if any(mount.kind == "overlay" and disk in mount.options for mount in mounts()):
        raise LabError(f"layer {name} ({suite}) is in use by a running lab")
    above = [layer.name for layer in every(settings) if disk in layer.below]
    if above:
        raise LabError(f"layer {name} ({suite}) carries layer {above[0]}")
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
    return True


def rebase(spec: HostSpec, layer: Layer) -> HostSpec:
    """The host standing on the layer that was made of it."""
    return replace(spec, layers=layer.stack)
