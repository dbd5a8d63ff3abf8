"""Train a network, evaluate it on the test images and write the report.

    hamjax train --config quickstart
    hamjax train --config densenet_s5 --workdir runs/a --config.data.data_dir=FOLDER --config.train.seed=1
    hamjax train --config my_config.py

The run goes to runs/NAME, or to the folder given with --workdir. The same command resumes a run that was stopped.
A config file is Python and is run, so use those you trust; values on the command line are never run.
"""

from collections.abc import Sequence

from hamjax.commands.arguments import wants_help
from hamjax.config.command_line import describe_keys, parse
from hamjax.runtime.errors import PreemptedError


def main(words: Sequence[str]) -> None:
    """Run the command."""
    if wants_help(words):
        print(f"{__doc__}\n{describe_keys()}")
        return
    config, workdir = parse(words)
    # Imported here, as it takes two seconds: help and a misspelled key are answered before.
    from hamjax.commands.training_run import train

    try:
        train(config, workdir)
    except PreemptedError as error:
        error.exit_status = config.runtime.preempt_exit_code
        raise
