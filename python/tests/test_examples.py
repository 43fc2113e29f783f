# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The example programs, against the same steps with ONNX Runtime."""

import math
import shutil
import subprocess
import wave

import numpy as np
import onnxruntime
import pytest

import lathe
from lathe.zoo.sound import CHUNK, CONTEXT, RATE, SHAPES, VAD, chunks, sound, vad_models
from lathe.zoo.vision import ocr_models
from small_models import ROOT, build_folder

# 5 by 7 dots, a row a number in hexadecimal.
GLYPHS = {"A": "0e 11 11 1f 11 11 11", "D": "1e 11 11 11 11 11 1e", "E": "1f 10 10 1e 10 10 1f",
          "H": "11 11 11 1f 11 11 11", "L": "10 10 10 10 10 10 1f", "N": "11 19 15 13 11 11 11",
          "O": "0e 11 11 11 11 11 0e", "R": "1e 11 11 1e 14 12 11", "T": "1f 04 04 04 04 04 04",
          "W": "11 11 11 15 15 1b 11", "X": "11 11 0a 04 0a 11 11", "0": "0e 11 13 15 19 11 0e",
          "2": "0e 11 01 02 04 08 1f", "6": "06 08 10 1e 11 11 0e", " ": "00 00 00 00 00 00 00"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Compiles an example against the runtime alone."""
    folder = tmp_path_factory.mktemp("examples")
    runtime = build_folder() / "runtime"

    def build(name):
        subprocess.run(["cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", ROOT / "examples" / f"{name}.c",
                        "-o", folder / name, f"-I{ROOT / 'runtime/include'}", f"-L{runtime}", "-llathe", "-lm",
                        f"-Wl,-rpath,{runtime}"], check=True)
        return folder / name

    assert shutil.which("cc")
    return build


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# -- Speech ------------------------------------------------------------------------------------------------------------


def write_sound(path, samples, rate=RATE):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def find_speech(model, samples):
    session = onnxruntime.InferenceSession(model)
    rate = {"sr": np.array(RATE)} if "sr" in {i.name for i in session.get_inputs()} else {}
    state, first, silent, found = np.zeros((2, 1, 128), np.float32), None, 0, []
    for step, chunk in enumerate(chunks(samples)):
        probability, state = session.run(None, {"input": chunk, "state": state, **rate})
        first = step if first is None and probability[0, 0] >= 0.5 else first
        silent = silent + 1 if probability[0, 0] < 0.35 else 0
        if first is not None and silent == 4:
            found.append((first, step + 1 - silent))
            first = None
    if first is not None:
        found.append((first, step + 1 - silent))
    return [f"{begin * (CHUNK - CONTEXT) / RATE:.3f} {end * (CHUNK - CONTEXT) / RATE:.3f}" for begin, end in found]


@pytest.mark.parametrize("name", ["vad_16k", "vad_openvino"])
def test_speech_is_found_where_onnx_runtime_finds_it(name, programs, tmp_path):
    assert name in VAD
    lathe.compile(vad_models()[name], tmp_path / "vad.so", shapes=SHAPES)
    samples = np.round(sound(30) * 32767).astype(np.int16)
    samples = samples[:len(samples) // (CHUNK - CONTEXT) * (CHUNK - CONTEXT)]
    write_sound(tmp_path / "sound.wav", samples)
    expected = find_speech(vad_models()[name], samples.astype(np.float32) / 32768)
    assert len(expected) > 3
    assert run(programs("find_speech"), tmp_path / "vad.so", tmp_path / "sound.wav") == expected


def test_another_rate_is_refused(programs, tmp_path):
    write_sound(tmp_path / "sound.wav", np.zeros(800, np.int16), rate=8000)
    done = subprocess.run([programs("find_speech"), "vad.so", tmp_path / "sound.wav"], capture_output=True, text=True)
    assert done.returncode == 1 and "16000 a second" in done.stderr


# -- Text --------------------------------------------------------------------------------------------------------------


def drawn(text, size):
    """Ink of dots of this size, a little blurred."""
    ink = np.zeros((9, 6 * len(text) + 2))
    for place, letter in enumerate(text):
        for y, row in enumerate(GLYPHS[letter].split()):
            ink[1 + y, 1 + 6 * place:6 + 6 * place] = [int(row, 16) >> 4 - x & 1 for x in range(5)]
    ink = np.kron(ink, np.ones((size, size)))
    blur = np.ones(size // 2 * 2 + 1) / (size // 2 * 2 + 1)
    for axis in (0, 1):
        ink = np.apply_along_axis(lambda line: np.convolve(line, blur, "same"), axis, ink)
    return ink


def page():
    image = np.full((320, 640, 3), 245.0)
    for text, size, top, left, turned in [("LATHE", 6, 14, 34, False), ("HELLO WORLD", 5, 85, 55, False),
                                          ("2026 ONNX", 4, 161, 296, False), ("ODE TO TEN", 5, 230, 100, True)]:
        ink = drawn(text, size)
        ink = ink[::-1, ::-1] if turned else ink
        image[top:top + ink.shape[0], left:left + ink.shape[1]] -= 220 * ink[..., None]
    return image.clip(0, 255).astype(np.uint8)


def scaled(image, width, height, stride=None):
    """As [1, 3, height, stride] from -1 to 1, blue first."""
    def weights(size, to):
        at = np.clip((np.arange(to) + 0.5) * size / to - 0.5, 0, size - 1)
        low = at.astype(int)
        return low, np.minimum(low + 1, size - 1), at - low
    top, bottom, down = weights(image.shape[0], height)
    left, right, across = weights(image.shape[1], width)
    values = image[..., ::-1].astype(np.float64)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    pixels = rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]
    result = np.zeros((1, 3, height, stride or width), np.float32)
    result[0, :, :, :width] = (pixels / 127.5 - 1).transpose(2, 0, 1)
    return result


def components(mask):
    """Lists of (row, column) that hang together, in the order of their first ones."""
    left = set(zip(*np.nonzero(mask), strict=True))
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        found, stack = [], [start]
        while stack:
            y, x = stack.pop()
            found.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            stack += near
        yield np.array(found)


def read_text(image):
    """What examples/read_text.c does."""
    detection, direction, recognition = (onnxruntime.InferenceSession(path) for path in ocr_models().values())
    alphabet = [*recognition.get_modelmeta().custom_metadata_map["character"].split("\n"), " "]
    high, wide = image.shape[:2]
    height, width = -(-high // 32) * 32, -(-wide // 32) * 32
    found = detection.run(None, {"x": scaled(image, width, height)})[0][0, 0]
    boxes = []
    for places in components(found > np.float32(0.3)):
        (top, left), (bottom, right) = places.min(0), places.max(0) + 1
        if found[places[:, 0], places[:, 1]].mean() >= 0.5 and min(bottom - top, right - left) >= 3:
            grown = (bottom - top) * (right - left) * float(np.float32(1.6)) / (2 * (bottom - top + right - left))
            edges = [(top - grown) * high / height, (left - grown) * wide / width,
                     (bottom + grown) * high / height + 1, (right + grown) * wide / width + 1]
            boxes.append([int(min(max(edge, 0), most)) for edge, most in zip(edges, (high, wide, high, wide),
                                                                            strict=True)])
    lines = []
    for top, left, bottom, right in sorted(boxes):
        part = image[top:bottom, left:right]
        long = math.ceil(48 * (right - left) / (bottom - top))
        turned = direction.run(None, {"x": scaled(part, min(long, 192), 48, 192)})[0][0, 1] > 0.9
        pixels = scaled(part[::-1, ::-1] if turned else part, long, 48, max(long, 320))
        symbols = recognition.run(None, {"x": pixels})[0][0].argmax(1)
        kept = [s for s, before in zip(symbols, [0, *symbols], strict=False) if s not in (0, before)]
        lines.append("".join(alphabet[symbol - 1] for symbol in kept))
    return lines


def test_text_is_read_as_with_onnx_runtime(programs, tmp_path):
    paths = []
    for name, path in ocr_models().items():
        paths.append(tmp_path / f"{name}.so")
        lathe.compile(path, paths[-1])
    image = page()
    (tmp_path / "page.ppm").write_bytes(b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes())
    expected = read_text(image)
    # The last of four stands upside down.
    assert len(expected) == 4 and {"LATHE", "HELLO WORLD", "ODE TO TEN"} <= set(expected)
    assert run(programs("read_text"), *paths, tmp_path / "page.ppm") == expected


def test_a_file_that_is_no_picture_is_refused(programs, tmp_path):
    (tmp_path / "page.ppm").write_bytes(b"P5 1 1 255\n0")
    (tmp_path / "bad.so").write_bytes(b"")
    done = subprocess.run([programs("read_text"), *["bad.so"] * 3, tmp_path / "page.ppm"], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.returncode == 1 and "bad.so" in done.stderr
