"""The keys of a config: one dataclass per topic, and in each field a key's default, meaning and bounds.

The defaults are those of the paper (Zhang, "Deep Learning Exploration on Skin Lesion Data HAM10000"). Where it leaves
a point open, or contradicts itself, a key settles it; the comment beside the key says what the paper says.
"""

import dataclasses
import enum

from hamjax.config.key import key


class Strategy(enum.StrEnum):
    """The paper's balancing strategies; see `hamjax.data.sampling.STRATEGIES`."""

    S1 = "s1"
    S2 = "s2"
    S3 = "s3"
    S4 = "s4"
    S5 = "s5"


@dataclasses.dataclass(slots=True, kw_only=True)
class DataConfig:
    """The images, and how they are split."""

    name: str = key("ham10000", "the images; synthetic: drawn ones", choices=("ham10000", "synthetic"))
    source_dir: str = key(
        "", "a local copy: folder, zip archive, table or DermaMNIST file; empty: what data_dir holds",
        is_path=True, affects_result=False,
    )  # fmt: skip
    data_dir: str = key("data", "folder of the prepared records and pixel caches", is_path=True, affects_result=False)
    allow_missing: bool = key(False, "continue without images that are missing or cannot be decoded")
    # Of 300 drawn images four are of the rarest class; many fewer cannot be in all three parts of a split.
    synthetic_images: int = key(4000, "number of images to draw", least=300, below=1e6)
    # 224 is the paper's (4.2). Below 4 pixels the CNN's two poolings leave nothing.
    image_size: int = key(224, "side of the square images in pixels", least=4, below=4096)
    # The paper makes a square of 600x450 without a word about the borders; the code of its time squashes.
    resize: str = key("squash", "squash the image to a square, or crop its centre", choices=("squash", "crop"))
    split: str = key(
        "paper", "how lesions are divided into training, validation and test images; source: as its publisher did",
        choices=("paper", "honest", "fold0", "fold1", "fold2", "fold3", "fold4", "source"),
    )  # fmt: skip
    split_seed: int = key(101, "seed of the split", least=0)  # 101: that of the public code of the paper's time
    stratify: bool = key(True, "split=paper: draw from each class, not from all at once")  # the paper does not say
    num_threads: int = key(
        -1, "threads that read ahead; -1: one per core, at most 16; 0: none", least=-1, below=1024, affects_result=False
    )
    augment_on: str = key(
        "host", "device: keep all images in device memory and augment them in the training step",
        choices=("host", "device"),
    )  # fmt: skip


@dataclasses.dataclass(slots=True, kw_only=True)
class SamplingConfig:
    """How the classes are balanced (paper, 4.1)."""

    strategy: Strategy = key(
        Strategy.S1, "s1: none; s2: oversample small classes; s3: all classes; s4: class weights; s5: s2 and s4",
        choices=tuple(Strategy),
    )  # fmt: skip
    # "classes with the sizes smaller than 1000": of the whole data set or of the training images is not said.
    threshold: int = key(1000, "s2, s5: classes with fewer images are oversampled to this number", least=0, below=1e6)
    threshold_on: str = key("all", "the images whose counts the threshold is compared with", choices=("all", "train"))
    # Not said either; topping up loses no image.
    draw: str = key(
        "top_up", "oversampling keeps every image and adds copies, or draws the whole class anew",
        choices=("top_up", "replace"),
    )  # fmt: skip
    epoch_size: str = key(
        "natural", "fixed: every strategy takes as many steps per epoch as s1", choices=("natural", "fixed")
    )
    # The paper's formula is garbled; n / (K n_j) is the only reading with a mean weight of 1.
    weight_rule: str = key(
        "balanced", "s4, s5: how class weights follow from class counts",
        choices=("balanced", "sqrt", "effective_number", "given"),
    )  # fmt: skip
    # Original counts on top of oversampling would be harsher than s4, while the paper's CNN recovers under s5.
    weights_from: str = key(
        "effective", "s5: class counts after or before oversampling", choices=("effective", "original")
    )
    # 0.999 is one of Cui et al.'s (CVPR 2019). At 1 their formula is 0 / 0.
    effective_beta: float = key(0.999, "weight_rule=effective_number: its beta", least=0, below=1)
    given_weights: tuple[float, ...] = key((), "weight_rule=given: weights of akiec bcc bkl df mel nv vasc")


@dataclasses.dataclass(slots=True, kw_only=True)
class AugmentConfig:
    """Augmentation of the training images (paper, 4.2), as Keras's ImageDataGenerator does it."""

    enabled: bool = key(True, "augment at all")
    # "randomly rotate by 90 degrees" is read as rotation_range=90, as in the public code it follows.
    rotation: str = key("uniform", "any angle up to degrees, or quarter turns", choices=("uniform", "rot90"))
    degrees: float = key(90.0, "rotation=uniform: the largest angle, to either side", least=0, most=180)
    # At 1 an image could shrink to a point, and beyond be mirrored.
    zoom: float = key(0.1, "the largest change of scale: 0.1 is 0.9 to 1.1", least=0, below=1)
    isotropic_zoom: bool = key(False, "zoom both axes alike")  # Keras draws one factor per axis
    # At 1 an image could lie wholly outside.
    shift: float = key(0.1, "the largest shift, as a share of the side", least=0, below=1)
    flips: bool = key(False, "mirror images at random")  # the paper has none
    colour: float = key(
        0.0, "brightness, contrast and saturation each times 1 - colour to 1 + colour", least=0, below=1
    )
    mix: str = key("none", "mix each image with its neighbour in the batch", choices=("none", "mixup", "cutmix"))
    # 0.2 is mixup's on ImageNet; cutmix's paper has 1.
    mix_alpha: float = key(0.2, "the share that is kept is drawn from Beta(alpha, alpha)", least=0.01, most=100)


@dataclasses.dataclass(slots=True, kw_only=True)
class ModelConfig:
    """The network (paper, 4.3)."""

    name: str = key("cnn", "the network", choices=("cnn", "resnet50", "inceptionv3", "densenet201"))
    # By the network, so that none of the three starts from random weights unless that is asked for. Random ones are
    # never a fallback: a run that cannot have its weights stops.
    weights: str = key(
        "auto", "initial weights: imagenet (Keras's official ones), random, or a file; auto: random for the cnn, else "
        "imagenet",
        is_path=True,
    )  # fmt: skip
    # The parameter counts in the paper are those of a fully trained network.
    trainable: str = key("all", "which layers are trained", choices=("all", "head"))
    freeze_epochs: int = key(0, "epochs at the start that train only the head", least=0)
    freeze_bn: bool = key(False, "keep the backbone's BatchNorm statistics and scales as they were loaded")
    head: str = key("paper", "the layers after the backbone", choices=("paper", "bn_first", "linear"))
    # "Normalization to (0,1)" (4.2), also for networks whose ImageNet weights expect something else.
    input_scale: str = key(
        "unit", "pixels divided by 255, or scaled as the ImageNet weights expect", choices=("unit", "native")
    )
    compute_dtype: str = key(
        "auto",
        "dtype of activations; auto: bfloat16 on accelerators, float32 on a CPU; float64 needs JAX_ENABLE_X64=1",
        choices=("auto", "float32", "bfloat16", "float64"),
    )  # fmt: skip
    # global gives the same numbers on any number of devices.
    bn_stats: str = key("global", "BatchNorm over the whole batch or per device", choices=("global", "per_device"))
    dropout: bool = key(True, "train with dropout")


@dataclasses.dataclass(slots=True, kw_only=True)
class LossConfig:
    """The training loss."""

    name: str = key("cross_entropy", "the loss", choices=("cross_entropy", "focal", "logit_adjusted"))
    # Keras, which the paper used, divides by the batch size and not by the sum of the weights.
    normalize: str = key(
        "batch", "divide the weighted sum by the batch size or by the weights", choices=("batch", "sum_w")
    )
    label_smoothing: float = key(0.0, "share of a label that is spread evenly over the classes", least=0, below=1)
    gamma: float = key(2.0, "name=focal: its exponent", least=0, most=100)  # 2: best in Lin et al., ICCV 2017
    tau: float = key(
        1.0, "name=logit_adjusted: its temperature", least=0, most=100
    )  # 1: consistent, Menon et al., ICLR 2021


@dataclasses.dataclass(slots=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and the learning rate (paper, 4.3)."""

    # Each with Keras's epsilon of 1e-7, where Keras puts it.
    name: str = key("adam", "the optimizer", choices=("adam", "adamw", "rmsprop"))
    learning_rate: float = key(1e-3, "the rate at the start (cosine: after the warm-up)", least=0)
    weight_decay: float = key(0.01, "name=adamw: decay of kernels, times the learning rate", least=0)
    # "decrease dynamically with every 3 epochs": the public code of the time reduces on a plateau of 3; step3 is
    # the literal reading.
    schedule: str = key("plateau", "how the learning rate falls", choices=("plateau", "none", "cosine", "step3"))
    warmup_epochs: float = key(1.0, "schedule=cosine: epochs in which the rate rises", least=0)
    patience: int = key(3, "schedule=plateau: epochs to wait for a better validation accuracy", least=0)
    factor: float = key(0.5, "schedule=plateau, step3: factor of a reduction", least=0, below=1)
    min_learning_rate: float = key(1e-5, "the smallest rate", least=0)
    # Keras's default.
    min_delta: float = key(1e-4, "schedule=plateau: gain of accuracy that counts as better", least=0, below=1)


@dataclasses.dataclass(slots=True, kw_only=True)
class TrainConfig:
    """How long to train, and how much at a time."""

    epochs: int = key(50, "number of epochs", least=1)
    max_steps: int = key(0, "stop after this many steps; 0: no limit", least=0)
    global_batch_size: int = key(16, "images per step, over all devices", least=1)
    # Several steps per call keep an accelerator busy while the host works; on a CPU both share the cores.
    steps_per_dispatch: int = key(
        0, "steps per call of the compiled program; 0: 1 on a CPU, 8 elsewhere", least=0, affects_result=False
    )
    seed: int = key(0, "seed of initial values, order, augmentation and dropout", least=0)
    ema_decay: float = key(
        0.0, "evaluate an exponential average of the weights, such as 0.999; 0: off", least=0, below=1
    )
    log_every_steps: int = key(50, "steps between lines of metrics.jsonl", least=1)
    # The end of every epoch is saved anyway; these add saves inside long ones. By minutes, since a save costs time: 500
    # steps are a second on an accelerator and an hour on a laptop.
    checkpoint_every_minutes: float = key(
        10.0, "minutes from one save to the next; 0: not by minutes", least=0, affects_result=False
    )
    checkpoint_every_steps: int = key(
        0, "steps from one save to the next in an epoch; 0: not by steps", least=0, affects_result=False
    )
    profile_steps: int = key(
        0, "steps to record into profile/, soon after a start; 0: none", least=0, affects_result=False
    )


@dataclasses.dataclass(slots=True, kw_only=True)
class EvalConfig:
    """How results are computed."""

    # It changes a prediction by rounding only, so a run may be resumed with another.
    batch_size: int = key(
        0, "images per call, over all devices; each view of tta counts; 0: 64 on a CPU, 256 elsewhere",
        least=0, below=1e5, affects_result=False,
    )  # fmt: skip
    # The paper chooses none, so its split reports the last epoch; the others choose on validation.
    checkpoint: str = key(
        "auto", "checkpoint for the report; auto: last for split=paper, else best", choices=("auto", "last", "best")
    )
    tta: str = key(
        "none", "test-time augmentation; d4: mean over the eight flips and quarter turns", choices=("none", "d4")
    )


@dataclasses.dataclass(slots=True, kw_only=True)
class RuntimeConfig:
    """Where and how the run is executed; no key here changes a result."""

    distributed: str = key(
        "auto", "processes: auto (a cluster that JAX recognises), off, or HOST:PORT,COUNT,INDEX", affects_result=False
    )
    join_seconds: int = key(
        100, "seconds that processes wait for each other at the start", least=1, below=1e6, affects_result=False
    )
    compilation_cache: str = key(
        "auto", "folder of compiled programs; auto: in the user's cache folder; off: none",
        is_path=True, affects_result=False,
    )  # fmt: skip
    # 143 = 128 + SIGTERM, what a shell reports of a process that the signal ended.
    preempt_exit_code: int = key(143, "exit status after a preemption signal", least=1, below=256, affects_result=False)
