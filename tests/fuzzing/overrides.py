"""Config overrides: every key with hostile values, and keys that are none."""

import json
from pathlib import Path
from random import Random

from absl import flags
from ml_collections import config_flags

from hamjax.config import KEYS, Config
from hamjax.config.command_line import parse, read_config
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.training.setup.network import require_fitting
from hamjax.training.setup.plan import make_plan
from tests.fuzzing.hostile import NUMBERS, word

CONFIG = str(Path(__file__).parents[2] / "configs" / "cnn_s5.py")
METADATA = SyntheticSource(300).metadata
STRANGE = ("__class__", "data", "data.__class__", "data.__dict__", "to_dict", "data.nonsense", "data[0]",
           "train.epochs.real", "model.name[0]", "data.__init__.__globals__", "", ".", "..",
           "sampling.given_weights[0]")  # fmt: skip


def make_samples(folder: Path) -> None:
    """Need none."""


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Write a command line."""
    words = ["main", "--config", CONFIG]
    for _ in range(rng.choice((1, 1, 1, 2))):
        key = rng.choice(STRANGE) if rng.random() < 0.06 else rng.choice(list(KEYS))
        text = _value(rng, key)
        form = rng.choice(
            (f"--config.{key}={text}",) * 8 + (f"--noconfig.{key}", f"--config.{key}", f"-config.{key}={text}")
        )
        words.append(form)
    if rng.random() < 0.05:
        words.append(
            rng.choice(("--flagfile=/dev/null", "--config=", word(rng), "--", "--help", "--workdir=", "--undefok=x"))
        )
    path = folder / "words.json"
    path.write_text(json.dumps(words))
    return path


def parses(mutated: Path) -> bool:
    """Say whether absl and ml_collections take it."""
    words, values = json.loads(mutated.read_text()), flags.FlagValues()
    config_flags.DEFINE_config_dataclass("config", Config(), flag_values=values, sys_argv=words, parse_fn=read_config)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    try:
        values(words)
    except Exception:  # of any kind: the parser is not ours
        return False
    return True


def use(folder: Path) -> None:
    """Read it, and plan a run with it."""
    config, _ = parse(json.loads((folder / "words.json").read_text())[1:])
    require_fitting(config)
    Config.from_dict(config.to_dict())
    make_plan(config, METADATA)


def command(folder: Path) -> list[str]:
    """Start it."""
    words = json.loads((folder / "words.json").read_text())
    return ["-m", "hamjax.main", *(word.replace("\0", "0") for word in words[1:])]


def _value(rng: Random, key: str) -> str:
    known = KEYS.get(key)
    kind, choices = (known.type, known.choices) if known else (None, ())
    draws = [word(rng), str(rng.choice(NUMBERS))]
    if kind is int:
        draws += [str(rng.choice((0, 1, 3, 16, 100, 1000, 10**6, 2**30))) for _ in range(5)]
    elif kind is float:
        draws += [rng.choice(("0", "0.5", "1", "2.5", "-0.5", "1e9", "1e-30", "inf", "nan", "1e999")) for _ in range(6)]
    elif kind is bool:
        draws += [rng.choice(("True", "false", "1", "yes", "2")) for _ in range(4)]
    elif choices:
        draws += [rng.choice((*choices, choices[0].upper(), f" {choices[0]}")) for _ in range(6)]
    elif kind not in (None, str):
        draws += [
            "(1,2,3,4,5,6,7)",
            "1,2",
            "(0,0,0,0,0,0,0)",
            "(nan,)",
            "((1,),)",
            "('a',)",
            "1",
            "(1e999,)*7",
            "(-1,1,1,1,1,1,1)",
        ]
    return rng.choice(draws)
