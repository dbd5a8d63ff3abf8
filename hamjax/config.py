"""What a run can be told: one dataclass a topic, every key with its meaning and source.

Where the paper (Zhang, "Deep Learning Exploration on Skin Lesion Data HAM10000") leaves a
point open or garbles it, the key that settles it says so; defaults are the paper.
"""

import dataclasses
import enum
import json
from typing import Any

from hamjax.errors import UserError


class Strategy(enum.StrEnum):
    """The paper's balancing strategies; see `hamjax.data.sampling.STRATEGIES`."""

    S1 = "s1"
    S2 = "s2"
    S3 = "s3"
    S4 = "s4"
    S5 = "s5"


@dataclasses.dataclass(slots=True, kw_only=True)
class DataConfig:
    """Which images, and who is trained and tested on."""

    name: str = "ham10000"  # ham10000 | synthetic
    source_dir: str = ""  # a local copy in any accepted layout; empty: what data_dir holds
    data_dir: str = "data"  # where records and caches are kept
    allow_missing: bool = False  # go on without missing or undecodable images
    synthetic_images: int = 4000  # size of the drawn data set
    image_size: int = 224  # pixels a side (paper, 4.2)
    resize: str = "squash"  # squash | crop; the paper resizes 600x450 to a square
    split: str = "paper"  # paper | honest | fold0 ... fold4
    split_seed: int = 101
    stratify: bool = True  # paper's split only: per class, or over all at once (it does not say)
    num_threads: int = -1  # that read ahead; -1: one a core, 16 at most; 0: none
    augment_on: str = "host"  # host | device: keep the data set in device memory, warp in the step


@dataclasses.dataclass(slots=True, kw_only=True)
class SamplingConfig:
    """Balancing (paper, 4.1)."""

    strategy: Strategy = Strategy.S1
    threshold: int = 1000  # "classes with the sizes smaller than 1000"
    threshold_on: str = "all"  # all | train: whose counts it is compared with (not said)
    draw: str = "top_up"  # top_up | replace: keep every image, or draw a class anew (not said)
    epoch_size: str = "natural"  # natural | fixed: fixed keeps S1's number of steps an epoch
    weight_rule: str = "balanced"  # balanced | sqrt | effective_number | given (w_j is garbled)
    weights_from: str = "effective"  # effective | original: S5's counts, after or before oversampling
    effective_beta: float = 0.999  # for effective_number
    given_weights: tuple[float, ...] = ()  # for given: akiec bcc bkl df mel nv vasc


@dataclasses.dataclass(slots=True, kw_only=True)
class AugmentConfig:
    """Augmentation (paper, 4.2), read as Keras's ImageDataGenerator."""

    enabled: bool = True
    rotation: str = "uniform"  # uniform | rot90: "rotate by 90 degrees" is rotation_range=90
    degrees: float = 90.0  # half the range of uniform
    zoom: float = 0.1
    isotropic_zoom: bool = False  # Keras draws the two axes apart
    shift: float = 0.1
    flips: bool = False
    colour: float = 0.0  # brightness, contrast, saturation: a factor each in [1 - colour, 1 + colour]
    mix: str = "none"  # none | mixup | cutmix: each image with its neighbour in the batch
    mix_alpha: float = 0.2  # of Beta(alpha, alpha): 0.2 in mixup's paper on ImageNet, 1 in cutmix's


@dataclasses.dataclass(slots=True, kw_only=True)
class ModelConfig:
    """The network (paper, 4.3)."""

    name: str = "cnn"  # cnn | resnet50 | inceptionv3 | densenet201
    weights: str = "random"  # imagenet: the official Keras files | random | a file
    trainable: str = "all"  # all (paper: its parameter counts say so) | head
    freeze_epochs: int = 0  # epochs at the start in which the head alone is trained
    freeze_bn: bool = False  # keep the backbone's BatchNorm as ImageNet left it
    head: str = "paper"  # paper | bn_first | linear
    input_scale: str = "unit"  # unit: x/255 (paper, 4.2) | native: as the ImageNet weights expect
    compute_dtype: str = "auto"  # auto: bfloat16 on accelerators, float32 on the CPU
    bn_stats: str = "global"  # global | per_device
    dropout: bool = True


@dataclasses.dataclass(slots=True, kw_only=True)
class LossConfig:
    """What is minimised; see `hamjax.losses`."""

    name: str = "cross_entropy"  # cross_entropy | focal | logit_adjusted
    normalize: str = "batch"  # batch: sum(w l) / B as Keras does | sum_w: sum(w l) / sum(w)
    label_smoothing: float = 0.0  # share of a label that is spread evenly over the classes
    gamma: float = 2.0  # for focal (Lin et al., ICCV 2017)
    tau: float = 1.0  # for logit_adjusted (Menon et al., ICLR 2021)


@dataclasses.dataclass(slots=True, kw_only=True)
class OptimizerConfig:
    """Optimizer and learning rate (paper, 4.3)."""

    name: str = "adam"  # adam | adamw | rmsprop, each with Keras's epsilon 1e-7 where Keras puts it
    learning_rate: float = 1e-3
    weight_decay: float = 0.01  # for adamw: of kernels, times the learning rate
    schedule: str = "plateau"  # plateau | none | cosine | step3 ("decrease dynamically with every 3 epochs")
    warmup_epochs: float = 1.0  # for cosine: the rate rises, before it falls to min_learning_rate
    patience: int = 3  # epochs without a better validation accuracy
    factor: float = 0.5
    min_learning_rate: float = 1e-5
    min_delta: float = 1e-4


@dataclasses.dataclass(slots=True, kw_only=True)
class TrainConfig:
    """How long, how much at a time."""

    epochs: int = 50
    max_steps: int = 0  # 0: no limit
    global_batch_size: int = 16  # over all devices
    steps_per_dispatch: int = 0  # 0: one on the CPU, eight on accelerators
    seed: int = 0
    ema_decay: float = 0.0  # evaluate an exponential average of the weights, e.g. 0.999; 0: the weights
    log_every_steps: int = 50
    # The end of every epoch is saved anyway; these add saves inside long ones. By minutes, since a save costs time: 500
    # steps are a second on an accelerator and an hour on a laptop.
    checkpoint_every_minutes: float = 10.0  # since the last save; 0: not by minutes
    checkpoint_every_steps: int = 0  # since the start of the epoch; 0: not by steps
    profile_steps: int = 0  # to record into profile/, soon after a start; 0: none


@dataclasses.dataclass(slots=True, kw_only=True)
class EvalConfig:
    """How results are taken."""

    batch_size: int = 64  # over all devices, views of an image counted
    checkpoint: str = "auto"  # auto: last for the split `paper`, else best on validation | last | best
    tta: str = "none"  # none | d4: mean over the eight flips and quarter turns; validation stays plain


@dataclasses.dataclass(slots=True, kw_only=True)
class RuntimeConfig:
    """Where it runs; nothing here changes a result."""

    distributed: str = "auto"  # auto: a cluster JAX recognises, else one process | off | HOST:PORT,COUNT,INDEX
    join_seconds: int = 100  # that processes wait for each other at the start
    compilation_cache: str = "auto"  # auto: the user's cache folder | off | a folder
    preempt_exit_code: int = 143


@dataclasses.dataclass(slots=True, kw_only=True)
class Config:
    """A whole run."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Rebuild a config that `to_dict` made.

        Raises:
            UserError: a key is unknown, as in a run of another version.
        """
        config = cls()
        for topic, keys in values.items():
            for key, value in keys.items() if isinstance(keys, dict) else [("", keys)]:
                if f"{topic}.{key}" not in KEYS:
                    raise UserError(
                        f"expected the config keys of this version of hamjax, got {topic}.{key}; "
                        "use the version that made the run (its config.json names it)."
                    )
                setattr(getattr(config, topic), key, tuple(value) if isinstance(value, list) else value)
        return config

    def result_keys(self) -> dict[str, Any]:
        """Return the part that a result depends on: not where files lie, nor threads, saves or steps a dispatch."""
        values = self.to_dict()
        del values["runtime"]
        for key in ("profile_steps", "steps_per_dispatch", "checkpoint_every_minutes", "checkpoint_every_steps"):
            del values["train"][key]
        for key in ("source_dir", "data_dir", "num_threads"):
            del values["data"][key]
        return values


# Every key, such as data.image_size, and its type.
KEYS: dict[str, Any] = {
    f"{topic.name}.{field.name}": field.type
    for topic in dataclasses.fields(Config)
    for field in dataclasses.fields(getattr(Config(), topic.name))
}
