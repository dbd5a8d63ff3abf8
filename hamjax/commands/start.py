"""What a run says before its first step."""

from collections.abc import Mapping

from hamjax.data.classes import CLASSES, PAPER_ORDER
from hamjax.data.dataset import describe_tables
from hamjax.data.lesions import lesion_facts
from hamjax.data.sampling import STRATEGIES
from hamjax.data.splits import PARTITIONS, TEST, TRAIN, split_counts
from hamjax.report.terminal import as_known, lesions_unknown, table, with_total
from hamjax.training.setup.experiment import Experiment


def describe_start(experiment: Experiment) -> str:
    """Return the lines before the first step: data, split, strategy, class weights, leaks, baseline, steps, devices."""
    config, metadata = experiment.config, experiment.dataset.metadata
    counts = split_counts(metadata, experiment.plan.split)
    totals = {part: sum(counts[part].values()) for part in PARTITIONS}
    strategy = STRATEGIES[config.sampling.strategy]
    balancing = strategy.summary.format(threshold=config.sampling.threshold)
    rows: list[list[object]] = [[part, totals[part], *(counts[part][dx] for dx in PAPER_ORDER)] for part in PARTITIONS]
    resampled = dict(zip(CLASSES, experiment.plan.counts.tolist(), strict=True))
    rows.append(["an epoch", sum(resampled.values()), *(resampled[dx] for dx in PAPER_ORDER)])
    weights = dict(zip(CLASSES, experiment.plan.class_weights.tolist(), strict=True))
    rows.append(["class weight", "", *(f"{weights[dx]:.3f}" for dx in PAPER_ORDER)])
    leaks = experiment.leaks()
    for title, key in (("leaked test images", "leaked"), ("leaked val images", "val_leaked")):
        rows.append([title, *(as_known(counted) for counted in with_total(leaks, key))])
    top = max(counts[TRAIN], key=lambda dx: counts[TRAIN][dx])
    baseline = counts["test"][top] / totals["test"]
    return "\n".join(
        [
            f"data {experiment.dataset.images_note}",
            *describe_tables(experiment.dataset.tables, experiment.dataset.outside),
            f"split {config.data.split}: train/val/test {totals['train']}/{totals['val']}/{totals['test']}",
            f"strategy {config.sampling.strategy}: {balancing}: {sum(resampled.values()):,} images an epoch",
            table(["", "all", *PAPER_ORDER], rows),
            *lesions_unknown(lesion_facts(metadata)),
            *_untrained(counts),
            f"majority baseline: always {top} scores accuracy {baseline:.3f}, balanced accuracy "
            f"{1 / sum(n > 0 for n in counts['test'].values()):.3f} on test",
            f"{config.model.name}: {experiment.plan.steps_per_epoch:,} steps an epoch of "
            f"{config.train.global_batch_size} images, {experiment.plan.num_steps:,} in all, on "
            f"{experiment.mesh.size} x {experiment.mesh.devices.flat[0].device_kind}",
            _describe_sharing(experiment),
        ]
    )


def _untrained(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Name the classes that are in the test part alone, in a line, if there are such."""
    missing = [dx for dx in PAPER_ORDER if counts[TEST][dx] and not counts[TRAIN][dx]]
    if not missing:
        return []
    return [f"warning: no training image is {' or '.join(missing)}, but test images are: all of them will be wrong"]


def _describe_sharing(experiment: Experiment) -> str:
    """State the rules of batch and learning rate."""
    config, mesh = experiment.config, experiment.mesh
    batch, processes = config.train.global_batch_size, len({device.process_index for device in mesh.devices.flat})
    return (
        f"global batch {batch}: {batch // mesh.size} images on each of {mesh.size} device(s) of {processes} "
        f"process(es), BatchNorm statistics {config.model.bn_stats}; learning rate "
        f"{config.optimizer.learning_rate:g} as set. Neither follows the number of devices"
    )
