"""What all kinds draw from: hostile words and values, and damage to bytes."""

import copy
import json
from random import Random
from typing import Any

WORDS = (
    "", " ", "0", "-1", "1e999", "nan", "inf", "1_0", "0x10", "١٢", "True", "None", "null", "nv", "NV", "unknown",
    "=1+1", "+1", "@SUM(A1)", "-2+3", "../../up", "/etc/passwd", "..\\..\\up", "C:\\a", "a/b", ".", "..", "~", "a\0b",
    "\x1b[2J", "\u202e", "\u2028", "\ufeff", "ß" * 50, "x" * 150, "x" * 5000, "💥", "'", '"', "''",
    "<script>alert(1)</script>", "{{7*7}}", "%s%n", "$(touch X)", "`touch X`", "__import__('os').system('touch X')",
    "(1,", "[" * 2000, "(" * 300,
    "9" * 400, "1" * 5000, "2147483648", "-9223372036854775809",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**30, 0.5, -0.0, 1e-320, 1e308,
           float("inf"), float("nan"))  # fmt: skip


def word(rng: Random) -> str:
    """Draw a hostile word."""
    return rng.choice(WORDS)


def value(rng: Random) -> Any:
    """Draw a JSON value of any type."""
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    return rng.choice([None, True, False, {}, [], [[]], {"": None}, deep, rng.choice(NUMBERS), word(rng), [word(rng)]])


def damage(rng: Random, content: bytes) -> bytes:
    """Flip, cut, insert, repeat or blank some bytes."""
    data = bytearray(content)
    kind = rng.choice(("flip", "flip", "flip", "cut", "insert", "repeat", "blank"))
    at = rng.randrange(len(data) or 1)
    length = rng.choice((1, 4, 64, 1024))
    if kind == "flip" and data:
        for _ in range(rng.choice((1, 3, 30))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = rng.randbytes(length)
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    else:
        data[at : at + length] = bytes(len(data[at : at + length]))
    return bytes(data)


def damage_json(rng: Random, text: str) -> str:
    """Put other values, names and types into a JSON text; it stays valid."""
    root = [copy.deepcopy(json.loads(text))]
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(root))
        holder, key = rng.choice(places)
        kind = rng.choice(("value", "value", "number", "word", "remove", "rename", "wrap", "swap"))
        if kind == "remove":
            if holder is not root:
                del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[word(rng)] = holder.pop(key)
        elif kind == "wrap":
            holder[key] = rng.choice(([holder[key]], {"x": holder[key]}, str(holder[key])))
        elif kind == "swap":
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
        else:
            holder[key] = {"number": rng.choice(NUMBERS), "word": word(rng)}.get(kind, value(rng))
    return json.dumps(root[0])


def _places(holder: Any) -> Any:
    """Yield where every value of a tree sits: what holds it, and its key there."""
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])
