"""Check whether a job could start where there is no network. Nothing is fetched, made or changed.

    hamjax check --config densenet_s5 --workdir runs/a --config.data.data_dir=FOLDER

The options are those of `hamjax train`. The status is 0 if a job could start, and 2 if it could not; what is missing
or damaged is then named with the command that brings it. Run the check in the environment of the job: weights are
looked for where XDG_CACHE_HOME says.
"""

from collections.abc import Sequence

from hamjax.commands.arguments import wants_help
from hamjax.config.command_line import describe_keys, parse
from hamjax.runtime.errors import UserError
from hamjax.training.setup.preflight import State, check


def main(words: Sequence[str]) -> None:
    """Run the command."""
    if wants_help(words):
        print(f"{__doc__}\n{describe_keys()}")
        return
    findings = check(*parse(words))
    for finding in findings:
        first, *rest = finding.note.splitlines()
        print(f"{finding.what:18}{finding.state:18} {first}", *rest, sep="\n" + " " * 8)
    if lacking := [finding.what for finding in findings if finding.state is State.NOT_READY]:
        raise UserError(f"a job could not start, not ready: {', '.join(lacking)}")
    print("a job could start without a network")
