"""The division of a run into dispatches: the number of steps that each one takes.

Every number of steps a dispatch takes is a compiled program of its own, so a run uses two at most: K, and one smaller
number that fills up what K leaves over. An epoch and a run end exactly; everything else that is due every so many
steps happens at the first end of a dispatch at or after its step.
"""

import math
from collections.abc import Iterator, Sequence

from hamjax.runtime.errors import UserError

MOST_EXCESS = 3  # dispatches of an epoch beyond ceil(steps / K): a search for fewer would not be felt


def plan_dispatches(step: int, num_steps: int, steps_per_epoch: int, most: int) -> list[int]:
    """Return the steps of every dispatch that is left, in order.

    The plan from a step at which a dispatch of the plan from 0 ends is the rest of that plan. So a run that is resumed
    with the same K records the same windows as an undisturbed one.

    Args:
        step: that the run is at, 0 for a new one.
        num_steps: of the whole run.
        steps_per_epoch: every dispatch ends at an epoch's end or before it.
        most: K, the most steps of a dispatch; a default larger than an epoch is cut to fit.
    """
    most = min(most, steps_per_epoch, num_steps)
    epochs, rest = divmod(num_steps, steps_per_epoch)
    whole = [steps_per_epoch] * min(epochs, 1) + [rest] * min(rest, 1)
    left = list(_stretches(step, num_steps, steps_per_epoch))
    pair = _choose_sizes(whole, most)
    if any(_divide(length, *pair) is None for length in left):
        # Resumed inside an epoch with another K: what is left of that epoch counts, too.
        pair = _choose_sizes([*left[:1], *whole], most)
    sizes: list[int] = []
    for length in left:
        divided = _divide(length, *pair)
        assert divided is not None  # sizes that divide these lengths were chosen
        # The short ones first: both programs are then compiled at the start, and not an epoch later.
        sizes += [pair[1]] * divided[1] + [pair[0]] * divided[0]
    return sizes


def require_usable(most: int, steps_per_epoch: int, num_steps: int) -> None:
    """Refuse a K that no epoch has room for.

    Args:
        most: K as set; 0 for the default, which is cut to fit.
        steps_per_epoch: of the run.
        num_steps: of the run.

    Raises:
        UserError: names the largest K that can be used.
    """
    largest = min(steps_per_epoch, num_steps)
    if most > largest:
        raise UserError(
            f"train.steps_per_dispatch={most}: expected at most {largest}, the steps of an epoch of this run, since a "
            f"dispatch ends where an epoch does; set --config.train.steps_per_dispatch={largest} or less."
        )


def crosses(every: int, before: int, after: int) -> bool:
    """Return whether a multiple of `every` lies in (before, after]; with 0 none does."""
    return every > 0 and after // every > before // every


def _stretches(step: int, num_steps: int, steps_per_epoch: int) -> Iterator[int]:
    """Yield the lengths of what lies between `step`, the ends of epochs and the end of the run."""
    while step < num_steps:
        end = min((step // steps_per_epoch + 1) * steps_per_epoch, num_steps)
        yield end - step
        step = end


def _choose_sizes(lengths: Sequence[int], most: int) -> tuple[int, int]:
    """Return two numbers of steps, long and short, that divide every length into few dispatches.

    The short one is not always a remainder: 8 and 7 divide both 30 = 2 x 8 + 2 x 7 and 29 = 8 + 3 x 7. Only where no
    short one does (a run of 89 steps cut off inside an epoch of 29, K = 16) is the long one less than K.
    """

    def cost(pair: tuple[int, int]) -> tuple[float, float]:
        """Return the most dispatches of a length beyond ceil(length / K), and the short ones of all lengths."""
        counts = [_divide(length, *pair) or (math.inf, math.inf) for length in lengths]
        excess = max(sum(count) + -length // most for count, length in zip(counts, lengths, strict=True))
        return excess, sum(short for _, short in counts)

    best = most, 1
    for long in range(most, 0, -1):
        best = min([best, *((long, short) for short in range(long, 0, -1))], key=cost)
        if cost(best)[0] <= MOST_EXCESS:
            break
    return best


def _divide(length: int, long: int, short: int) -> tuple[int, int] | None:
    """Return how many dispatches of either size make `length`, with the fewest short ones; None if none do."""
    common = math.gcd(long, short)
    if length % common:
        return None
    shorts = length // common * pow(short // common, -1, long // common) % (long // common)
    return None if shorts * short > length else ((length - shorts * short) // long, shorts)
