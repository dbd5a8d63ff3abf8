"""The command line: `python -m hamjax.main --config configs/quickstart.py`.

This file is short on purpose: flags to config, config to `train`, errors to an exit status.
The config file is Python and is run, so use those you trust; values on the command line are literals and never run.
"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from hamjax.config import Config
from hamjax.distributed import leave
from hamjax.errors import PreemptedError, UserError
from hamjax.limits import validate
from hamjax.training_run import train


def parse(argv: Sequence[str]) -> tuple[Config, Path]:
    """Read a command line; nothing is kept, so many can be read one after another.

    Raises:
        UserError: a flag, key, value or file is not what it should be.
    """
    words, values = list(argv), flags.FlagValues()
    chosen = config_flags.DEFINE_config_file(
        "config",
        None,
        "The config file; see configs/. It is Python and is run.",
        flag_values=values,
        lock_config=True,
        sys_argv=words,
    )
    workdir = flags.DEFINE_string(
        "workdir", None, "The run directory; runs/<config name> by default.", flag_values=values
    )
    try:
        rest = values(words)
        config = chosen.value
        if config is not None:
            _ = config.data  # a config that could not be loaded says why only when it is used
    # A config file is Python and may raise anything; a mistake there is the user's to mend.
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"expected --config FILE and --config.KEY=VALUE for keys of hamjax/config.py, got: {error}"
        ) from error
    if len(rest) > 1 or config is None:
        what = f"the extra words {' '.join(rest[1:])}" if len(rest) > 1 else "no --config"
        raise UserError(f"expected --config configs/NAME.py [--workdir DIR] [--config.KEY=VALUE], got {what}.")
    if not isinstance(config, Config):
        raise UserError(f"expected get_config() to return a hamjax Config, got {type(config).__name__}.")
    validate(config)
    name = Path(config_flags.get_config_filename(values["config"])).stem
    return config, Path(workdir.value or Path("runs", name))


def run() -> None:
    """Run the command and exit with its status."""
    preempted = PreemptedError.exit_status
    try:
        config, workdir = parse(sys.argv)
        preempted = config.runtime.preempt_exit_code
        train(config, workdir)
    except PreemptedError as error:
        sys.exit(_say(error, preempted))
    except UserError as error:
        leave(_say(error, error.exit_status))
    except KeyboardInterrupt:
        leave(_say("interrupted; the same command goes on from the last checkpoint", 130))
    except Exception:  # a defect: it keeps its traceback, and must not keep other processes waiting
        traceback.print_exc()
        leave(1)


def _say(error: object, status: int) -> int:
    print(f"hamjax: {error}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    run()
