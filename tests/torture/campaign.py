"""Kill a run from outside again and again, at random moments of every phase; it must end as one left alone.

    python scripts/torture.py --kills 60 --per-phase 5 --processes 2 --out scripts/results/torture.json

The same command is started each time, as a scheduler would: no start may end with a message for a person, and
after every kill every complete checkpoint must be readable in whole. Where the kills are not all made when a run
is over, another one begins; each must equal the one left alone. The seed gives the pauses and the victims; where a
signal falls is up to the machine, too.
"""

import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hamjax.commands import launch
from tests.torture import kills, observer
from tests.torture.kills import Kill, Processes
from tests.torture.observer import PHASES, Observer

CONFIG = """
import hamjax
def get_config():
    return hamjax.make_config(
        model="cnn", strategy="s5", data__name="synthetic", data__data_dir={data!r}, data__synthetic_images=400,
        data__image_size=16, data__split="honest", sampling__threshold=10, train__epochs={epochs},
        train__global_batch_size={batch}, train__log_every_steps=7, train__checkpoint_every_steps=5, eval__batch_size=2,
        runtime__compilation_cache="off", runtime__join_seconds=20,
    )
"""
VISITS = {"train": 4, "checkpoint": 4}  # phases that come often: one of the first so many visits is hit
LONGEST_START = 600.0  # seconds; a start that is not over by then hangs
LOOK_EVERY = 0.002


class TortureError(Exception):
    """The run did not survive: what was expected, what was got."""


class Torture:
    """A run that is started, killed and started again.

    Args:
        folder: for the runs, their data and all that they print; new or empty.
        wanted: at least so many kills.
        per_phase: at least so many in each phase.
        processes: of the run.
        seed: of the pauses and the victims.
        grace: seconds that processes have to end by themselves after a kill.
    """

    def __init__(self, folder: Path, *, wanted: int, per_phase: int, processes: int, seed: int, grace: float) -> None:
        self.kills: list[Kill] = []
        self.lost: list[int] = []
        self.starts = self.runs = 0
        self._folder, self._processes, self._grace = folder, processes, grace
        self._wanted, self._per_phase, self._random = wanted, per_phase, random.Random(seed)
        self._stays = defaultdict[str, list[float]](list)
        self._config = folder / "config.py"
        batch = -(-16 // processes) * processes  # of 16 images, or a few more that the processes can share
        self._config.write_text(CONFIG.format(data=str(folder / "data"), epochs=2 + wanted // 5, batch=batch))

    def run(self) -> None:
        """Make the kills, and compare what the runs come to.

        Raises:
            TortureError: a run did not survive, or came to something else.
        """
        alone = self._folder / "alone"
        with self._started(alone) as (processes, look):
            self._require_done(processes, look)
        while self._lacking():
            self.runs += 1
            workdir = self._folder / f"run_{self.runs}"
            while not self._attempt(workdir):
                pass
            if differing := observer.differences(alone, workdir):
                raise TortureError(f"{workdir}: expected what {alone} came to, got another {', '.join(differing)}")

    def outcome(self) -> dict[str, Any]:
        """Return what has been done, and what came of it."""
        return {
            "kills": kills.summarize(self.kills),
            "runs": self.runs,
            "starts": self.starts,
            "resumes": len(self.lost),
            "lost_steps": {"all": sum(self.lost), **kills.spread(self.lost)},
            "seconds_in_a_phase": {phase: kills.spread(self._stays[phase]) for phase in PHASES},
        }

    def _lacking(self) -> list[str]:
        """Return the phases that need more kills; all of them while there are not enough in all."""
        count = Counter(kill.phase for kill in self.kills)
        short = [phase for phase in PHASES if count[phase] < self._per_phase]
        return short or (list(PHASES) if len(self.kills) < self._wanted else [])

    def _aim(self) -> str | None:
        """Choose the phase that has had the fewest kills; the report, after which a run is over, comes last."""
        lacking, count = self._lacking(), Counter(kill.phase for kill in self.kills)
        return min(
            [phase for phase in lacking if phase != "report"] or lacking,
            key=lambda phase: (count[phase], self._random.random()),
            default=None,
        )

    def _attempt(self, workdir: Path) -> bool:
        """Start the run, kill it if kills are left, and look after it; say whether the run is over."""
        again = workdir.exists()
        newest = max(observer.steps(workdir), default=0)
        reached = max(newest, observer.last_record(workdir).get("step", 0))
        aim = self._aim()
        with self._started(workdir) as (processes, look):
            if hit := aim is not None and self._wait_for(aim, processes, look):
                self._kill(processes, look)
                self._require_checkpoints(workdir, newest)
            else:
                self._require_done(processes, look)
            resumed = look.resumed()
            if again and resumed is not None:
                if resumed != newest:
                    raise TortureError(f"{workdir}: expected to go on from step {newest}, got {resumed}")
                self.lost.append(reached - resumed)
            return not hit or not any(process.returncode for process in processes)

    def _wait_for(self, aim: str, processes: Processes, look: Observer) -> bool:
        """Wait for a random moment of a phase; say whether it came before all was over."""
        left = self._random.randrange(VISITS.get(aim, 1))
        pause = self._random.uniform(0, self._stays[aim][-1])
        before = ""
        for phase in self._looks(processes, look):
            if phase == aim != before:
                if not left:
                    time.sleep(pause)
                    return any(process.poll() is None for process in processes) and look.phase() in PHASES
                left -= 1
            before = phase
        return False

    def _kill(self, processes: Processes, look: Observer) -> None:
        """Kill in the way that the phase has had the fewest times; one process or all that are left."""
        phase = look.phase()
        here = Counter(kill.way for kill in self.kills if kill.phase == phase)
        anywhere = Counter(kill.way for kill in self.kills)
        way = min(kills.WAYS, key=lambda way: (here[way], anywhere[way], self._random.random()))
        left = [process for process in processes if process.poll() is None]
        victims = left if way[1] == "all" else [self._random.choice(left)]
        done = kills.kill(processes, victims, phase, way, grace=self._grace)
        self.kills.append(done)
        print(f"kill {len(self.kills)}: {done}", flush=True)
        if not done.is_clean():
            raise TortureError(f"expected an end that needs nobody, got {done}\n{self._printed()}")

    def _require_checkpoints(self, workdir: Path, newest_before: int) -> None:
        """Require that there is one as new as before, and that all can be read."""
        if newest_before > max(observer.steps(workdir), default=0):
            raise TortureError(f"{workdir}: expected a checkpoint of step {newest_before} or later, got none")
        if damaged := observer.unreadable(workdir):
            raise TortureError(f"{workdir}: expected checkpoints that can be read, got {'; '.join(damaged)}")

    @contextlib.contextmanager
    def _started(self, workdir: Path) -> Iterator[tuple[Processes, Observer]]:
        self.starts += 1
        outputs = [self._folder / f"start_{self.starts}_{i}.txt" for i in range(self._processes)]
        with contextlib.ExitStack() as files:
            processes = launch.start(
                ["--config", str(self._config), "--workdir", str(workdir)],
                processes=self._processes,
                cpu_devices=1,
                outputs=[files.enter_context(path.open("wb")) for path in outputs],
                PYTHONUNBUFFERED="1",
                JAX_DISABLE_MOST_OPTIMIZATIONS="1",  # seconds of every start, not cached so that they can be hit
            )
        try:
            yield processes, Observer(workdir, outputs[0])
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def _looks(self, processes: Processes, look: Observer) -> Iterator[str]:
        """Yield the phase over and over until all processes have ended; note how long the run stays in each."""
        begun = since = time.monotonic()
        phase = PHASES[0]
        while any(process.poll() is None for process in processes):
            now, seen = time.monotonic(), look.phase()
            if now > begun + LONGEST_START:
                raise TortureError(f"expected an end in {LONGEST_START:g} s, got none, in {phase}\n{self._printed()}")
            if seen != phase:
                self._stays[phase].append(round(now - since, 3))
                phase, since = seen, now
            yield phase
            time.sleep(LOOK_EVERY)

    def _require_done(self, processes: Processes, look: Observer) -> None:
        for _ in self._looks(processes, look):
            pass
        if any(statuses := [process.returncode for process in processes]):
            raise TortureError(f"expected a start to end with status 0, got {statuses}\n{self._printed()}")

    def _printed(self) -> str:
        """Return the end of what the last start has printed."""
        files = sorted(self._folder.glob(f"start_{self.starts}_*.txt"))
        return "\n".join(f"{path}:\n{path.read_text(errors='replace')[-3000:]}" for path in files)
