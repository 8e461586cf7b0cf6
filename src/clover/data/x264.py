"""x264 told to write the same bytes for the same pictures."""

from __future__ import annotations

from functools import cache

import numpy as np


def x264_parameters(**more: str) -> dict[str, str]:
    """FFmpeg's option ``x264-params``, with what makes the encoder's output depend on the pictures alone.

    What x264's macroblock tree computes with AVX-512 depends on memory that nobody wrote (seen with its core
    165: other bytes for one video in ten, from one encoding to the next; with AVX2 for none). So AVX2 is the most it
    uses.

    Args:
        more: Other parameters of x264, by name.
    """
    parameters = more | ({"asm": "avx2"} if _has_avx512() else {})
    return {"x264-params": ":".join(f"{name}={value}" for name, value in parameters.items())} if parameters else {}


@cache
def _has_avx512() -> bool:
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return any(name.startswith("AVX512") or name == "X86_V4" for name in found)
