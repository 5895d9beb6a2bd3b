# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makers of tiny, deterministic model folders: real ones that say a given sentence, and hostile ones."""
from __future__ import annotations

from lab.models.hostile import HOSTILE_KINDS, hostile
from lab.models.ollama import ollama_layers
from lab.models.tiny_gguf import gguf
from lab.models.tiny_llama import DEFAULT_REPLY, llama

__all__ = ["DEFAULT_REPLY", "HOSTILE_KINDS", "gguf", "hostile", "llama", "ollama_layers"]
