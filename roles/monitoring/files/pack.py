# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack a folder ``module_utils`` as an archive that Python imports from: the same bytes from the same files. Prints where it is.

Runs on the controller: pack.py MODULE_UTILS FOLDER. ``module.py`` is left out, which is the only file that needs Ansible.
"""
from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile

PACKAGE = "ansible_collections/venom/llm/plugins/module_utils"
#: The first moment that an archive can hold; the times of a checkout say nothing.
MOMENT = (1980, 1, 1, 0, 0, 0)


def pack(source: str) -> bytes:
    """The archive."""
    parts = PACKAGE.split("/")
    members = {"/".join([*parts[:count], "__init__.py"]): b"" for count in range(1, len(parts))}
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, source).replace(os.sep, "/")
            if name.endswith(".py") and relative != "module.py":
                with open(path, "rb") as stream:
                    members[f"{PACKAGE}/{relative}"] = stream.read()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            # Not compressed: another zlib would give other bytes.
            archive.writestr(zipfile.ZipInfo(name, MOMENT), members[name])
    return buffer.getvalue()


def main() -> None:
    """Write it under a name of its content, whole: several hosts of a play ask at the same time."""
    content = pack(sys.argv[1])
    path = os.path.join(sys.argv[2], "venom-backend-%s.zip" % hashlib.sha256(content).hexdigest()[:16])
    if not os.path.exists(path):
        temporary = "%s.%d" % (path, os.getpid())
        with open(temporary, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    print(path)


if __name__ == "__main__":
    main()
