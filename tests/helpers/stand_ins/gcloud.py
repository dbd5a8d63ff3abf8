#!/usr/bin/env python3
"""Stands in for gcloud: keeps what it is asked, a line a call, and answers as answers.json says.

That holds lists by command, used up from the front: `describe` of states, `ssh` of statuses. Any other call, and one
without an answer left, succeeds and says nothing.
"""

import json
import shlex
import sys
from pathlib import Path


def main() -> int:
    """Answer one call."""
    here = Path(sys.argv[0]).parent
    with (here / "gcloud.log").open("a") as log:
        log.write(shlex.join(["gcloud", *sys.argv[1:]]) + "\n")
    answers = json.loads((here / "answers.json").read_text())
    waiting = answers.get(sys.argv[4], [])
    answer = waiting.pop(0) if waiting else ""
    (here / "answers.json").write_text(json.dumps(answers))
    if sys.argv[4] == "ssh":
        return int(answer or 0)
    print(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
