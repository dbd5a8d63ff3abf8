"""The evidence that a run directory holds, for who comes later than the run."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hamjax.report.evidence import Evidence
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.finished import read_summary, unfinished
from hamjax.training.run_directory.record import RunRecord, read_facts, read_record


def read_evidence(workdir: Path) -> Evidence:
    """Read what the report of a finished run says, without its pictures.

    Raises:
        UserError: there is no such run, it is not finished, or its report is another run's.
    """
    record, summary = read_record(workdir), read_summary(workdir)
    if summary is None:
        raise UserError(unfinished(workdir, "no summary of a report"))
    _require_own(workdir, record, summary)
    return Evidence({**summary, **read_facts(workdir)})


@contextlib.contextmanager
def of_this_version(workdir: Path) -> Iterator[None]:
    """Turn what goes wrong with a report of an earlier version, or a changed one, into a message.

    Raises:
        UserError: in place of the error.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{workdir / 'report' / 'test.json'}: expected a report of this version, got {found}; remove report/ "
            "and start the command that trained the run again: it makes the report anew."
        ) from error


def _require_own(workdir: Path, record: RunRecord, summary: Mapping[str, Any]) -> None:
    """Refuse a report and a config of two runs: half of what is said would be about each."""
    config = record.config
    own = {"model": config.model.name, "strategy": str(config.sampling.strategy), "seed": config.train.seed,
           "data_fingerprint": record.data_fingerprint}  # fmt: skip
    if other := [f"{name} {summary[name]}" for name, value in own.items() if summary[name] != value]:
        raise UserError(
            f"{workdir / 'report' / 'test.json'}: expected the report of the run in config.json, got one of "
            f"{', '.join(other)}; restore the file that is another run's."
        )
