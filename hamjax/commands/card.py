"""Write the model card of a finished run anew: `model_card.md` in its directory.

    hamjax card --workdir runs/cnn_s2

It is made from `report/test.json` and `config.json` alone, and begins with the metadata block that the Hugging Face
Hub reads.
"""

from collections.abc import Sequence

from hamjax.commands.arguments import make_parser
from hamjax.report.card import FILE, write_card
from hamjax.report.stored import of_this_version, read_evidence
from hamjax.runtime.paths import user_path


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("card", __doc__)
    parser.add_argument("--workdir", required=True, type=user_path, help="a finished run directory")
    args = parser.parse_args(words)
    evidence = read_evidence(args.workdir)
    with of_this_version(args.workdir):
        write_card(args.workdir, evidence.summary)
    print(f"wrote {args.workdir / FILE}")
