#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release of a program, unpacked."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_release
short_description: Unpack a release archive into a folder of its version
version_added: 0.1.0
description:
  - Verifies an archive on the managed host by its SHA-256, unpacks it beside the folder, tries its program, and puts it in place by
    one rename. A failure leaves what was there.
  - Where the marker is there, nothing is read.
  - Members that would leave the folder, by their name or by a link, are refused.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes
options:
  archive:
    description:
      - The archive on the managed host, C(.tgz) or C(.tar.zst), told apart by its first bytes.
      - Zstandard needs the library C(libzstd.so.1), which every Debian has, or the program C(zstd).
    type: path
    required: true
    version_added: 0.1.0
  sha256:
    description:
      - SHA-256 of the archive as 64 hexadecimal digits. It is checked before anything is unpacked.
    type: str
    required: true
    version_added: 0.1.0
  folder:
    description:
      - Where the release belongs. What lies there without the marker is replaced.
    type: path
    required: true
    version_added: 0.1.0
  program:
    description:
      - Path in the archive of the program that must be there.
    type: str
    required: true
    version_added: 0.1.0
  marker:
    description:
      - Name of the file in O(folder) that says that all of it is there. It is written last.
    type: str
    required: true
    version_added: 0.1.0
  proof:
    description:
      - Arguments with which O(program) must end with status 0 before it is put in place. Without any it is not run.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  consume:
    description:
      - Whether the archive is removed afterwards, also after a failure.
    type: bool
    default: false
    version_added: 0.1.0
  lock_timeout:
    description:
      - Seconds to wait for another run that unpacks a release beside this one.
    type: float
    default: 60
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_ollama_info
"""

EXAMPLES = r"""
- name: Unpack a release of Ollama
  venom.llm.venom_release:
    archive: /srv/archives/ollama-linux-amd64.tar.zst
    sha256: "{{ sha256_of_the_release }}"
    folder: /opt/venom/ollama/0.16.3
    program: bin/ollama
    marker: .complete
    proof: [--version]
"""

RETURN = r"""
folder:
  description: Where the release lies.
  returned: success
  type: str
files:
  description: Files that were unpacked. 0 when nothing was to be done, and in check mode.
  returned: success
  type: int
size_bytes:
  description: Their bytes.
  returned: success
  type: int
reason_code:
  description: Why it failed, as one fixed word.
  returned: failure
  type: str
  sample: digest_mismatch
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import module, release

OPTIONS: dict[str, t.Any] = {
    "archive": {"type": "path", "required": True},
    "sha256": {"type": "str", "required": True},
    "folder": {"type": "path", "required": True},
    "program": {"type": "str", "required": True},
    "marker": {"type": "str", "required": True},
    "proof": {"type": "list", "elements": "str", "default": []},
    "consume": {"type": "bool", "default": False},
    "lock_timeout": {"type": "float", "default": 60.0},
}


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Verify and unpack; see ``release``."""
    return release.operate(params, context.check_mode)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate)


if __name__ == "__main__":
    main()
