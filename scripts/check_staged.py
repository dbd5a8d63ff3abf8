"""Say what a job would miss where there is no network; nothing is fetched, made or changed.

    python scripts/check_staged.py --config configs/densenet_s5.py --workdir runs/a --config.data.data_dir=FOLDER

The words are those of hamjax.main. Status 0: a job could start; 2: it could not, and what is missing or damaged is
named with the command that brings it. Run it in the job's environment: XDG_CACHE_HOME says where weights are
looked for.
"""

import sys

from hamjax.config.command_line import parse
from hamjax.errors import UserError
from hamjax.staged import State, check


def main() -> None:
    """Run the command line."""
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return
    try:
        findings = check(*parse(sys.argv[1:]))
    except UserError as error:
        print(f"check_staged: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    for finding in findings:
        first, *rest = finding.note.splitlines()
        print(f"{finding.what:18}{finding.state:18} {first}", *rest, sep="\n" + " " * 8)
    lacking = [finding.what for finding in findings if finding.state is State.NOT_READY]
    if lacking:
        print(f"check_staged: a job could not start, not ready: {', '.join(lacking)}", file=sys.stderr)
        sys.exit(UserError.exit_status)
    print("a job could start without a network")


if __name__ == "__main__":
    main()
