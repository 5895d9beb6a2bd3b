#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle holds."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_bundle_info
short_description: Check a bundle and tell what it holds
version_added: 0.1.0
description:
  - Reads a bundle that M(venom.llm.venom_bundle) made. With O(allowed_signers) the signature of C(SHA256SUMS) is checked before anything
    of it is read further; then the digest of the index, and what O(verify) says.
  - A bundle that is not whole, or not what was exported, is a failure that names the file.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes.info_module
options:
  path:
    description:
      - The folder of the bundle on the managed host.
    type: path
    required: true
    version_added: 0.1.0
  allowed_signers:
    description:
      - A file of allowed signers on the managed host, as C(ssh-keygen) describes it. A bundle that none of them signed, in the namespace
        C(venom-bundle), is refused with C(signature_invalid).
      - No signature is asked for when it is left out.
    type: path
    version_added: 0.1.0
  verify:
    description:
      - With V(index) the list of digests and the index are checked.
      - With V(files) also every wheel and archive, and that every blob is there in its size. A file of these folders that is not listed is
        refused.
      - With V(full) every blob is hashed as well, which M(venom.llm.venom_model) does anyway with what it takes.
    type: str
    choices: [index, files, full]
    default: files
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_bundle
"""

EXAMPLES = r"""
- name: Look at what came, and who signed it
  venom.llm.venom_bundle_info:
    path: /mnt/stick/venom-bundle
    allowed_signers: /etc/venom/allowed_signers
  register: bundle

- name: Read every byte of it
  venom.llm.venom_bundle_info:
    path: /mnt/stick/venom-bundle
    verify: full
"""

RETURN = r"""
path:
  description: The folder.
  returned: success
  type: str
signed_by:
  description: Who of O(allowed_signers) signed it, null when nobody asked.
  returned: success
  type: str
models:
  description: Each model with C(name), C(provider), C(revision), C(requested_revision), C(alias), C(include), C(exclude) and C(size_bytes).
  returned: success
  type: list
  elements: dict
install:
  description: The same models, pinned, as O(venom.llm.venom_model#module:models) wants them.
  returned: success
  type: list
  elements: dict
wheels_dir:
  description: The folder of wheels, null when there are none.
  returned: success
  type: str
archives:
  description: Release archives, each with C(path) and C(sha256).
  returned: success
  type: list
  elements: dict
collections:
  description: Archives of this collection.
  returned: success
  type: list
  elements: str
bytes_total:
  description: Bytes of all models, each content once.
  returned: success
  type: int
reason_code:
  description: Why it failed, as one fixed word.
  returned: failure
  type: str
  sample: signature_invalid
"""

from ansible_collections.venom.llm.plugins.module_utils.bundle_checking import run_bundle_info
from ansible_collections.venom.llm.plugins.module_utils.models_options import bundle_info_spec
from ansible_collections.venom.llm.plugins.module_utils.module import run


def main() -> None:
    """Build the module and run the operation."""
    run(bundle_info_spec(), run_bundle_info)


if __name__ == "__main__":
    main()
