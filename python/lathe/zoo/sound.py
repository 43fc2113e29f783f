# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that hear: silero's detectors of speech, as their package ships them."""

import pathlib

import numpy as np

VAD = {"vad": "silero_vad.onnx", "vad_16k": "silero_vad_16k_op15.onnx", "vad_half": "silero_vad_half.onnx",
       "vad_if": "silero_vad_op18_ifless.onnx", "vad_openvino": "silero_vad_openvino_16k.onnx"}
RATE = 16000
# A chunk is this many samples, of which the first were in the chunk before.
CHUNK, CONTEXT = 576, 64
SHAPES = {"input": (1, CHUNK)}


def vad_models() -> dict[str, pathlib.Path]:
    """The paths of the models by name. They take a chunk of sound and a state, and give a probability and a state.
    Most are for chunks of one shape only: the rank of what is between depends on it."""
    from . import package_folder

    folder = package_folder("silero_vad") / "data"
    return {name: folder / file for name, file in VAD.items()}


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Sound in which bursts of voice-like tones, whose pitch and formants glide, take turns with faint noise."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    time = np.arange(count) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = np.zeros(count)
    for harmonic in range(1, 30):
        distance = (harmonic * pitch - (600 + 250 * np.sin(2 * np.pi * 3 * time))) / 300
        voice += np.exp(-distance**2) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, None)
    speaks = (time % 5) > 2.5
    return (0.3 * voice * syllables * speaks + 0.003 * rng.standard_normal(count)).astype(np.float32)


def chunks(samples: np.ndarray):
    """Chunks of `samples`, each behind the end of the one before."""
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    for start in range(0, len(samples) - (CHUNK - CONTEXT) + 1, CHUNK - CONTEXT):
        yield padded[None, start:start + CHUNK]
