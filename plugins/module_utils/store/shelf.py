# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store offers to whoever brings bytes."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.names import Digest


class Shelf(t.Protocol):
    """Where verified files go."""

    @property
    def partial_root(self) -> str:
        """The folder of unfinished files, on the same file system."""

    def put(self, partial: str, digest: Digest) -> str:
        """Take over a complete file whose bytes the caller has verified and flushed to disk. Returns its path. Raises ``OSError``."""

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a file of this digest and size is there; nothing is hashed."""

    def verify(self, digest: Digest, size: int) -> bool:
        """Whether the file is there and its bytes, hashed now, are what its name says."""

    def path(self, digest: Digest) -> str:
        """Where the file lies, there or not."""
