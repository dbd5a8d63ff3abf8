"""What the API answers, as its description (`/openapi.json`) has it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class Health(BaseModel):
    """The network is ready: before that, nobody answers at all."""

    status: Literal["ok"]


class Unlike(BaseModel):
    """Whether an image is unlike the training images; null where the run has not measured it."""

    run: str
    distance: float | None
    threshold: float | None
    unlike: bool | None


class PredictedImage(BaseModel):
    """What the network says of an image; as in `predictions.json`.

    For each operating point of the run there is also `TARGET_at_specificity_X`, whether the score reaches it.
    """

    model_config = ConfigDict(extra="allow")

    path: str = Field(description="the file's name, as it was sent")
    image_id: str
    predicted: str = Field(description="the class of the highest probability")
    probabilities: dict[str, float]
    calibrated: dict[str, float] | None = Field(description="corrected by the run's temperature, where it has one")
    melanoma: float
    malignant: float
    margin: float = Field(description="the highest probability less the next one")
    set: list[str] | None = Field(description="classes that cannot be ruled out, by the prediction sets of the report")
    set_by_class: list[str] | None = Field(description="the same with a threshold for each class")
    unlike: list[Unlike]
    notes: list[str]
    heat_map: str | None = Field(description="Grad-CAM as a PNG with transparency, in a data: URL, if asked for")
    heat_map_text: str | None = Field(description="the same in words")


class UnreadableImage(BaseModel):
    """A file that gives no image, and why."""

    path: str
    reason: str


class Answered(BaseModel):
    """The images that could be read, in their order, and those that could not."""

    images: list[PredictedImage]
    unreadable: list[UnreadableImage]


class Interval(BaseModel):
    """Of 95%; see the run's report for how it was made."""

    low: float
    high: float


class TestScore(BaseModel):
    """A score on the test images, from 0 to 1."""

    title: str
    value: float
    interval: Interval | None
    majority_baseline: float | None = Field(description="of calling everything the most frequent class")


class Subgroup(BaseModel):
    """The scores of some of the test images; null where they hold none of the classes needed."""

    by: str
    group: str
    images: int
    balanced_accuracy: float | None
    balanced_accuracy_interval: Interval | None
    melanomas: int
    melanoma_sensitivity: float | None
    melanoma_interval: Interval | None
    worse: Literal["no", "lower", "clearly"] = Field(
        description="than all images, in balanced accuracy; clearly: its whole interval lies below"
    )


class OperatingPoint(BaseModel):
    """A threshold that was chosen on the test images themselves."""

    target: str
    specificity: float
    threshold: float | None
    sensitivity: float | None
    interval: Interval | None


class ModelFacts(BaseModel):
    """What predicts, what it was trained on, how good it is, and what it is not for."""

    use: str
    title: str
    run: str
    checkpoint: str
    image_size: int
    resize: str = Field(description="squash: the whole image; crop: the square in its middle")
    classes: dict[str, str] = Field(description="names by abbreviation")
    calibrated: bool
    set_level: float | None = Field(description="of the prediction sets; for images from elsewhere nothing is promised")
    trained_on: list[str]
    training_images: dict[str, int] = Field(description="by class")
    tested_on: str
    alarms: list[str]
    scores: list[TestScore]
    subgroups: list[Subgroup]
    operating_points: list[OperatingPoint]
    limits: list[str]
    limit_of_request: dict[str, int] = Field(description="bytes, images and seconds")
