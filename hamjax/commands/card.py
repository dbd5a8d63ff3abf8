"""Write the model card of a finished run anew: `model_card.md` in its directory.

    hamjax card --workdir runs/cnn_s2

It is made from `report/test.json` and `config.json` alone, and begins with the metadata block that the Hugging Face
Hub reads.
"""

from collections.abc import Sequence

from hamjax.commands.arguments import make_parser
from hamjax.report.card import FILE, write_card
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import user_path
from hamjax.training.run_directory.finished import read_summary, unfinished


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("card", __doc__)
    parser.add_argument("--workdir", required=True, type=user_path, help="a finished run directory")
    args = parser.parse_args(words)
    summary = read_summary(args.workdir)
    if summary is None:
        raise UserError(unfinished(args.workdir, "no summary of a report"))
    try:
        write_card(args.workdir, summary)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # a report of an earlier version, or changed
        found = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{args.workdir / 'report' / 'test.json'}: expected a report of this version, got {found}; remove report/ "
            "and start the command that trained the run again: it makes the report anew."
        ) from error
    print(f"wrote {args.workdir / FILE}")
