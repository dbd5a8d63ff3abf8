"""Write the model card of a finished run anew: `model_card.md` in its directory.

    hamjax card --workdir runs/cnn_s2

It is made from `report/test.json` and `config.json` alone, and begins with the metadata block that the Hugging Face
Hub reads.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamjax.commands.arguments import make_parser
from hamjax.report.card import FILE, write_card
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import user_path
from hamjax.training.run_directory.finished import read_summary, unfinished
from hamjax.training.run_directory.record import RunRecord, read_record


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("card", __doc__)
    parser.add_argument("--workdir", required=True, type=user_path, help="a finished run directory")
    args = parser.parse_args(words)
    record, summary = read_record(args.workdir), read_summary(args.workdir)
    if summary is None:
        raise UserError(unfinished(args.workdir, "no summary of a report"))
    _require_own(args.workdir, record, summary)
    try:
        write_card(args.workdir, summary)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # a report of an earlier version, or changed
        found = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{args.workdir / 'report' / 'test.json'}: expected a report of this version, got {found}; remove report/ "
            "and start the command that trained the run again: it makes the report anew."
        ) from error
    print(f"wrote {args.workdir / FILE}")


def _require_own(workdir: Path, record: RunRecord, summary: Mapping[str, Any]) -> None:
    """Refuse a report and a config of two runs: half of the card would be about each."""
    config = record.config
    own = {"model": config.model.name, "strategy": str(config.sampling.strategy), "seed": config.train.seed,
           "data_fingerprint": record.data_fingerprint}  # fmt: skip
    if other := [f"{name} {summary[name]}" for name, value in own.items() if summary[name] != value]:
        raise UserError(
            f"{workdir / 'report' / 'test.json'}: expected the report of the run in config.json, got one of "
            f"{', '.join(other)}; restore the file that is another run's."
        )
