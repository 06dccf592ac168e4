"""Seeded ways to break a command line, a JSON value, and the bytes of a file."""

import copy
import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# fmt: off
WORDS = (
    "", " ", "0", "-1", "1", "3", "1.5", "1e999", "-inf", "nan", "9" * 40, "9" * 5000, "0x10",
    "true", "None", "none", "auto", "[]", "{}", "--", "-", "=", "'", '"', "..", "../..", "nowhere",
    "ü", "🙂" * 9, "a" * 3000, "a b", "\udc80", "\n", "*", "**/*", "[", "%s", "$HOME", "~nobody/x",
    "palm_nano", "gpt2_nano", "palm_540b", "palm", "/dev/null", "here.txt",
)
NUMBERS = ("0", "-1", "1", "3", "7", "31", "1.5", "1e-9", "1e999", "-inf", "nan", "9" * 20, "None")
VALUES = (
    None, True, False, 0, -1, 1, 3, 1.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 2**64,
    10**30, "", "x", "3", "\ud800", "\x00", "../x", "/etc/passwd", [], [[]], [1, "a"], {}, {"a": 1},
    {"type": "Fraction", "numerator": 1, "denominator": 0}, {"type": "Nothing"}, {"type": []},
)
# fmt: on
Place = tuple[Any, Any]
"""A container in a JSON value, and the key or index of one of its items."""


def mutated_flags(rng: random.Random, flags: list[str], names: list[str]) -> list[str]:
    """Return the flags with one to three of them broken; `names` are flags to add.

    Half of the time every flag is well formed, and only a number may be impossible.
    """
    flags = list(flags)
    if rng.random() < 0.5:
        return [*flags, f"{rng.choice(names)}={rng.choice(NUMBERS)}"]
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(len(flags) + 1)
        given = flags[where % len(flags)] if flags else "--x"
        added = rng.choice(names)
        match rng.randrange(9):
            case 0:
                flags.insert(where, f"{added}={rng.choice(WORDS)}")
            case 1:
                flags[where:where] = [added, rng.choice(WORDS)]
            case 2:
                flags.insert(where, added)
            case 3:
                flags.insert(where, rng.choice(WORDS))
            case 4:
                flags.insert(where, f"{given.split('=')[0]}={rng.choice(WORDS)}")
            case 5:
                flags.insert(where, given)
            case 6 if flags:
                del flags[where % len(flags)]
            case 7 if flags:
                flags[where % len(flags)] = given[: rng.randrange(len(given) + 1)]
            case _:
                flags.insert(where, f"--{rng.choice(WORDS)}={rng.choice(WORDS)}")
    return flags


def mutated_json(rng: random.Random, value: Any) -> Any:
    """Return the value with one to three items replaced, removed, renamed, nested or repeated."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return rng.choice(VALUES)
        container, key = rng.choice(places)
        match rng.randrange(7):
            case 0 | 1 | 2:
                container[key] = rng.choice(VALUES)
            case 3:
                del container[key]
            case 4 if isinstance(container, dict):
                container[str(rng.choice(WORDS))] = container.pop(key)
            case 5:
                container[key] = [container[key]]
            case _:
                container[key] = copy.deepcopy(rng.choice(places)[0])
    return value


def _places(value: Any, depth: int = 0) -> Iterator[Place]:
    if depth > 8 or not isinstance(value, dict | list):
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    # A tokenizer has thousands of tokens; a few of each list stand for all.
    for key, item in list(items)[:40]:
        yield value, key
        yield from _places(item, depth + 1)


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return the bytes cut, flipped, filled, repeated or replaced."""
    where = rng.randrange(len(content) + 1)
    match rng.randrange(10):
        case 0:
            return b""
        case 1:
            return content[:where]
        case 2:
            return content[:where] + bytes([rng.randrange(256)]) + content[where + 1 :]
        case 3:
            return content[:where] + rng.randbytes(9) + content[where:]
        case 4:
            return content[:where] + b"\xff\xfe" + content[where:]
        case 5:
            return b"\0" * len(content[:5000])
        case 6:
            return rng.choice([b"[]", b"null", b"3", b'"x"', b"{}", b"NaN", b"[" * 100_000])
        case 7:
            return b"\x1f\x8b" + content
        case 8:
            return gzip.compress(content[:5000])[: rng.randrange(10, 40)]
        case _:
            return content[where:] + content[:where]


def mutate_file(rng: random.Random, path: Path) -> str:
    """Break one file, mostly its JSON if it is JSON, and say how."""
    kind = rng.choice(["json", "json", "json", "bytes", "bytes", "place"])
    content = path.read_bytes()
    # Orbax's name for the record of a run, which is JSON
    if kind == "json" and path.name.endswith(("json", "metadata")):
        path.write_bytes(json.dumps(mutated_json(rng, json.loads(content))).encode("utf-8"))
        return f"json of {path.name}"
    if kind == "json" and path.name.endswith("jsonl") and content:
        lines = content.decode().splitlines()
        where = rng.randrange(len(lines))
        lines[where] = json.dumps(mutated_json(rng, json.loads(lines[where])))
        path.write_text("\n".join(lines) + "\n")
        return f"line {where + 1} of {path.name}"
    if kind == "json" and path.name.endswith(".safetensors"):
        path.write_bytes(_with_header(content, lambda header: mutated_json(rng, header)))
        return f"header of {path.name}"
    if kind == "place":
        return f"{_replace(rng, path)} {path.name}"
    path.write_bytes(mutated_bytes(rng, content))
    return f"bytes of {path.name}"


def _with_header(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """Change the JSON in front of a safetensors file's tensors."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(change(json.loads(content[8:end]))).encode()
    return len(header).to_bytes(8, "little") + header + content[end:]


def _replace(rng: random.Random, path: Path) -> str:
    """Put something else where the file was."""
    path.unlink()
    match rng.randrange(4):
        case 0:
            return "no"
        case 1:
            path.mkdir()
            return "a folder for"
        case 2:
            path.symlink_to("nowhere")
            return "a link to nowhere for"
        case _:
            path.symlink_to(path.name)
            return "a link to itself for"
