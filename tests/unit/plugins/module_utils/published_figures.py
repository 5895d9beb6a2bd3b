# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of well-known models as others have published it. Every figure has its source; sizes are bytes."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

GB, GIB = 10**9, 2**30
HF_LLAMA_31 = "https://huggingface.co/blog/llama31, inference memory requirements"
DEEPSEEK = "DeepSeek-AI, Insights into DeepSeek-V3, arXiv:2505.09343, table 1"


@dataclass(frozen=True)
class Figure:
    """What somebody published: ``part`` is 'weights', 'cache' or 'token', ``parameters`` the model's own number of them."""

    model: str
    config: dict[str, t.Any]
    parameters: int
    part: str
    published: float
    source: str
    context: int = 4096
    parallel: int = 1
    tensor_parallel: int = 1
    platform: str = "cuda"


FIGURES = (
    Figure("Llama 3.1 8B", samples.LLAMA_31_8B, 8_030_261_248, "weights", 16 * GB, HF_LLAMA_31),
    Figure("Llama 3.1 8B", samples.LLAMA_31_8B, 8_030_261_248, "weights", 14.9888 * GIB, "https://github.com/vllm-project/vllm/issues/10517"),
    Figure("Llama 3.1 8B", samples.LLAMA_31_8B, 8_030_261_248, "cache", 15.62 * GIB, HF_LLAMA_31, context=128_000),
    Figure("Llama 3.1 70B", samples.LLAMA_31_70B, 70_553_706_496, "weights", 140 * GB, HF_LLAMA_31),
    Figure("Llama 3.1 70B", samples.LLAMA_31_70B, 70_553_706_496, "cache", 39.06 * GIB, HF_LLAMA_31, context=128_000),
    Figure("Llama 3.1 405B", samples.LLAMA_31_405B, 405_853_388_800, "weights", 810 * GB, HF_LLAMA_31),
    Figure("Llama 3.1 405B", samples.LLAMA_31_405B, 405_853_388_800, "token", 516.096e3, DEEPSEEK),
    Figure("Qwen2.5 72B", samples.QWEN_25_72B, 72_706_203_648, "token", 327.680e3, DEEPSEEK),
    Figure("DeepSeek-V3", samples.DEEPSEEK_V3, 671_026_419_200, "token", 70.272e3, DEEPSEEK),
    Figure("OPT 13B", samples.OPT_13B, 12_853_473_280, "token", 800 * 1024, "Kwon et al., PagedAttention, arXiv:2309.06180, section 3"),
    Figure("OPT 13B", samples.OPT_13B, 12_853_473_280, "weights", 26 * GB, "Kwon et al., PagedAttention, arXiv:2309.06180, figure 1"),
    Figure("Llama 2 7B", samples.LLAMA_2_7B, 6_738_415_616, "cache", 2 * GIB,
           "https://developer.nvidia.com/blog/mastering-llm-techniques-inference-optimization/"),
    Figure("Llama 2 7B", samples.LLAMA_2_7B, 6_738_415_616, "weights", 14 * GB,
           "https://developer.nvidia.com/blog/mastering-llm-techniques-inference-optimization/"),
    Figure("GPT-2 XL", samples.GPT2_XL, 1_557_611_200, "token", 300 * 1024, "https://news.future-shock.ai/the-weight-of-remembering/"),
    Figure("Gemma 3 27B", samples.GEMMA_3_27B, 27_432_406_640, "weights", 54 * GB,
           "https://developers.googleblog.com/en/gemma-3-quantized-aware-trained-state-of-the-art-ai-to-consumer-gpus/"),
    Figure("Qwen3 235B A22B FP8", samples.QWEN_3_235B, 235_093_634_560, "token", 8.11 * GIB / 178_880,
           "https://github.com/vllm-project/vllm/issues/21348 (four H100)", tensor_parallel=4),
    Figure("DeepSeek-R1-Distill-Qwen-14B", samples.QWEN_25_14B_DISTILL, 14_770_033_664, "weights", 13.9476 * GIB,
           "https://github.com/vllm-project/vllm/issues/13061 (two 4090)", tensor_parallel=2),
    Figure("gpt-oss 120B", samples.GPT_OSS_120B, 116_829_156_672, "cache", (9216 + 90) * 2**20,
           "https://github.com/ollama/ollama/issues/16480 and 16416 (two requests)", context=131_072, parallel=2, platform="ollama"),
)  # fmt: skip
