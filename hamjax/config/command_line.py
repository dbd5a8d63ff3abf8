"""The command line of a run: `--config NAME_OR_FILE --workdir DIR --config.KEY=VALUE ...`.

A config file is Python and is run, so use those you trust. Values on the command line are literals and are never run.
"""

import re
import textwrap
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from hamjax.config.key import Key
from hamjax.config.recipes import CONFIGS, named_config, require_key
from hamjax.config.schema import KEYS, Config
from hamjax.config.validation import validate, with_user_paths
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import user_path

USAGE = "--config NAME_OR_FILE [--workdir DIR] [--config.KEY=VALUE ...]"


def parse(words: Sequence[str]) -> tuple[Config, Path]:
    """Read the words of a command line that follow the command's name.

    Keeps nothing, so that many command lines can be read one after another.

    Returns:
        The config, validated, and the run directory.

    Raises:
        UserError: a flag, key, value or file is not what it should be.
    """
    argv, values = ["hamjax", *words], flags.FlagValues()
    for word in words:
        if override := re.match(r"--?(?:no)?config\.([^=]*)", word):
            require_key(override[1])
    # The config's parser comes with the overrides --config.KEY; how --config itself is read is ours.
    chosen = config_flags.DEFINE_config_dataclass(
        "config", Config(), "", flag_values=values, sys_argv=argv, parse_fn=read_config
    )
    workdir = flags.DEFINE_string("workdir", None, "", flag_values=values)
    try:
        rest = values(argv)[1:]
    except UserError:
        raise
    # absl and ml_collections raise errors of many kinds, with no base of their own.
    except Exception as error:
        raise UserError(f"expected {USAGE}, got: {error}") from error
    if rest or not values["config"].present:
        found = f"the extra words {' '.join(rest)}" if rest else "no --config"
        raise UserError(f"expected {USAGE}, got {found}.")
    config = with_user_paths(chosen.value)
    name = Path(config_flags.get_config_filename(values["config"])).stem
    place = user_path(workdir.value or Path("runs", name))
    validate(config, began=(place / "config.json").exists())
    return config, place


def read_config(source: str) -> Config:
    """Return the config of a name, or of a file `PATH` or `PATH:ARGUMENT`, whose `get_config(ARGUMENT)` makes it.

    Raises:
        UserError: there is no such name or file, or the file does not give a config.
    """
    path, *arguments = source.split(":", 1)
    path = str(user_path(path))
    # A name wins over a file: no stray file or folder changes what `--config quickstart` means.
    if source in CONFIGS or not Path(path).is_file():
        return named_config(source)
    loader = SourceFileLoader("hamjax_config_file", path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    try:
        loader.exec_module(module)
        config = module.get_config(*arguments)
    except UserError:
        raise
    # The file is the user's Python and may raise anything.
    except Exception as error:
        raise UserError(
            f"{path}: expected Python with a get_config() that returns a hamjax Config, got "
            f"{type(error).__name__}: {error}; correct the file."
        ) from error
    if not isinstance(config, Config):
        raise UserError(f"{path}: expected get_config() to return a hamjax Config, got {type(config).__name__}.")
    return config


def describe_keys() -> str:
    """Return a line or two for each key: its default, its meaning, and the values it may have."""
    lines = ["--config takes a file, or one of the names"]
    lines += textwrap.wrap(", ".join(CONFIGS), 110, initial_indent="  ", subsequent_indent="  ")
    lines += ["", "Keys with their defaults; a config may have set others:"]
    topic = ""
    for name, key in KEYS.items():
        if name.partition(".")[0] != topic:
            topic = name.partition(".")[0]
            lines += ["", f"{topic}: {getattr(Config(), topic).__doc__}"]
        lines.append(f"  --config.{name}={_text(key.default)}")
        lines += textwrap.wrap(key.meaning + _rules(key), 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _rules(key: Key) -> str:
    rules = [" | ".join(key.choices)] if key.choices else []
    rules += [f"at least {key.least:,.10g}"] if key.least is not None else []
    rules += [f"at most {key.most:,.10g}"] if key.most is not None else []
    rules += [f"below {key.below:,.10g}"] if key.below is not None else []
    return f" ({', '.join(rules)})" if rules else ""


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
