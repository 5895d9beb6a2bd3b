#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle of models for hosts without a network."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_bundle
short_description: Export installed models into a folder that builds hosts without a network
version_added: 0.1.0
description:
  - Copies models of this host with all their bytes into a folder, a new bundle or one that is there, and beside them wheels, release
    archives and the collection, as far as they are named.
  - Every byte is hashed while it is copied, and what the bundle has already is hashed and kept. A file appears by a rename.
  - C(SHA256SUMS) in the folder lists the index and all files in the format of C(sha256sum), and is written at the end. It can be signed.
  - What is in the bundle and not brought by this call has to be what C(SHA256SUMS) says; else nothing is written, and it fails with
    C(digest_mismatch) or C(bundle_invalid).
  - An export that was killed, or that met a full medium, is finished by the next run, which copies what is missing.
  - Nothing is removed from a bundle.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes
options:
  path:
    description:
      - The folder of the bundle on the managed host. It may not lie in O(models_dir) or around it.
    type: path
    required: true
    version_added: 0.1.0
  models_dir:
    description:
      - Folder on the managed host that holds blobs, snapshots, the manifest and the journal.
    type: path
    default: /var/lib/venom/models
    version_added: 0.1.0
  models:
    description:
      - Names or aliases of the models to carry, each in all its installed revisions. All models when it is empty.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  wheels:
    description:
      - A folder of wheels on the managed host, whose files are carried.
    type: path
    version_added: 0.1.0
  archives:
    description:
      - Release archives on the managed host, such as the one of Ollama, which are carried.
    type: list
    elements: path
    default: []
    version_added: 0.1.0
  collection:
    description:
      - The archive of this collection on the managed host, which is carried for the controller beyond the gap.
    type: path
    version_added: 0.1.0
  signing_key:
    description:
      - A private key of ssh on the managed host, without a passphrase, that C(SHA256SUMS) is signed with, by C(ssh-keygen -Y sign) in the
        namespace C(venom-bundle). The public half of a key that an agent holds does as well.
      - Where this call does not bring everything that is in the bundle, the C(SHA256SUMS) that is there has to be signed by the same key; else
        nothing is written, and it fails with C(signature_invalid).
      - Without it a signature that is there stays as long as it is one of what is there.
    type: path
    version_added: 0.1.0
  lock_timeout:
    description:
      - Seconds to wait for another export into the same folder.
    type: float
    default: 60.0
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_bundle_info
  - module: venom.llm.venom_model
"""

EXAMPLES = r"""
- name: Carry all models of this host
  venom.llm.venom_bundle:
    path: /mnt/stick/venom-bundle

- name: Carry one model with all that builds a host for it, signed
  venom.llm.venom_bundle:
    path: /mnt/stick/venom-bundle
    models: [gemma-2b-it]
    wheels: /srv/wheels
    archives: [/srv/ollama-linux-amd64.tar.zst]
    collection: /srv/venom-llm.tar.gz
    signing_key: /root/.ssh/bundles
"""

RETURN = r"""
path:
  description: The folder.
  returned: success
  type: str
models:
  description: All models of the bundle, also those of earlier exports, each with C(name), C(revision) and C(alias).
  returned: success
  type: list
  elements: dict
files_copied:
  description: What was missing or damaged in the bundle. Blobs by their digest, other files by their path. The same in check mode.
  returned: success
  type: list
  elements: str
bytes_total:
  description: Bytes of all models of the bundle, each content once, and of the files that were named.
  returned: success
  type: int
bytes_copied:
  description: Bytes that were copied. V(0) in check mode.
  returned: success
  type: int
bytes_kept:
  description: Bytes that the bundle had, hashed now.
  returned: success
  type: int
is_signed:
  description: Whether the bundle carries a signature.
  returned: success
  type: bool
reason_code:
  description: Why it failed, as one fixed word.
  returned: failure
  type: str
  sample: disk_full
"""

from ansible_collections.venom.llm.plugins.module_utils.bundle_making import run_bundle
from ansible_collections.venom.llm.plugins.module_utils.models_options import bundle_spec
from ansible_collections.venom.llm.plugins.module_utils.module import run


def main() -> None:
    """Build the module and run the operation."""
    run(bundle_spec(), run_bundle)


if __name__ == "__main__":
    main()
