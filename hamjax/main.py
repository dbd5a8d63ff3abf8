"""The command line: `python -m hamjax.main --config configs/quickstart.py`.

This file is short on purpose: flags to config, config to `train`, errors to an exit status.
The config file is Python and is run, so use those you trust; values on the command line are literals and never run.
"""

import sys
import traceback

from hamjax.config.command_line import parse
from hamjax.distributed import leave
from hamjax.errors import PreemptedError, UserError
from hamjax.training_run import train


def run() -> None:
    """Run the command and exit with its status."""
    preempted = PreemptedError.exit_status
    try:
        config, workdir = parse(sys.argv[1:])
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
