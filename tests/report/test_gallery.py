"""The gallery shows the right errors, the right way up, and says in words what it shows."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hamjax.config import make_config
from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.metadata import Metadata
from hamjax.evaluation.gradcam import grad_cam
from hamjax.evaluation.metrics.worst_errors import worst_errors
from hamjax.evaluation.predictor import Predictor
from hamjax.models.initialization import init_variables
from hamjax.models.preprocessing import scale_images
from hamjax.models.registry import create_model
from hamjax.report.gallery import draw_gallery
from hamjax.runtime.devices import local_copy, make_mesh, put_replicated
from hamjax.training.setup.resolved import resolve

ERROR = {"image_id": "b", "truth": "mel", "predicted": "nv", "probability_of_truth": 0.02,
         "probability_of_predicted": 0.98}  # fmt: skip


def test_the_surest_wrong_answers_come_first() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.3, 0.1], [0.8, 0.2, 0], [0, 0.7, 0.3], [0.6, 0.1, 0.3]])
    ids = np.array(["a", "b", "c", "d", "e"])
    errors = worst_errors(labels, probabilities, ids, ("x", "y", "z"))
    assert [error["image_id"] for error in errors] == ["c", "d", "e", "b"], "e gave the truth less than b"
    assert errors[0] == {"image_id": "c", "truth": "z", "predicted": "x", "probability_of_truth": 0.0,
                         "probability_of_predicted": 0.8}  # fmt: skip
    assert worst_errors(labels, probabilities, ids, ("x", "y", "z"), count=2) == errors[:2]
    assert worst_errors(labels, np.eye(3)[labels], ids, ("x", "y", "z")) == []


def _dataset(count: int, size: int) -> Dataset:
    rng = np.random.default_rng(0)
    text = np.full(count, "unknown")
    ids = np.array([f"ISIC_{i:07}" for i in range(count)])
    metadata = Metadata(ids, ids, np.zeros(count, np.int32), np.zeros(count, np.float32), text, text, text, text)
    return Dataset(rng.integers(0, 256, (count, size, size, 3), np.uint8), metadata, "", (), "")


def test_an_error_is_explained_by_its_own_image_and_predicted_class() -> None:
    dataset, model = _dataset(5, 16), create_model("cnn")
    predictor = Predictor(resolve(make_config(model="cnn", strategy="s1")), model, make_mesh())
    variables = put_replicated(init_variables(model, image_size=16, seed=0), make_mesh())
    errors = [ERROR | {"image_id": "ISIC_0000003"}, ERROR | {"image_id": "ISIC_0000001", "predicted": "bcc"}]
    images, maps = predictor.explain(variables, dataset, errors)
    np.testing.assert_array_equal(images, dataset.images[[3, 1]])
    scaled = scale_images(jnp.asarray(dataset.images[[3, 1]]), "unit", jnp.float32)
    classes = jnp.array([CLASSES.index("nv"), CLASSES.index("bcc")])
    expected = grad_cam(model, local_copy({"params": variables["params"]}), scaled, classes)
    np.testing.assert_array_equal(maps, jax.device_get(expected))
    assert maps.any()


def test_where_there_is_no_error_there_is_nothing_to_show() -> None:
    dataset, model = _dataset(2, 16), create_model("cnn")
    predictor = Predictor(resolve(make_config(model="cnn", strategy="s1")), model, make_mesh())
    variables = init_variables(model, image_size=16, seed=0)
    assert draw_gallery(*predictor.explain(variables, dataset, []), []) == []


def test_a_picture_has_the_image_left_and_the_heat_where_it_is_right() -> None:
    image, heat = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.float32)
    image[:20, 20:, 0] = 200
    heat[30:, :10] = 1
    (exhibit,) = draw_gallery(image[None], heat[None], [ERROR])
    with Image.open(io.BytesIO(exhibit.png)) as png:
        pixels = np.asarray(png.convert("RGB")).astype(int)
    assert pixels.shape == (160, 326, 3)
    left, right = pixels[:, :160], pixels[:, -160:]
    assert left[40, 120].tolist() == [200, 0, 0], "red is in the upper right"
    assert not left[120:].any()
    yellow = right[..., 1] - right[..., 2] > 60
    assert yellow[140, 20]
    assert yellow[:110].sum() == yellow[:, 50:].sum() == 0
    assert (np.ptp(right[~yellow], axis=1) < 60).all(), "grey where there is no heat"


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [(slice(0, 9), slice(20, 30), "upper right"), (slice(20, 30), slice(0, 9), "lower left"),
     (slice(12, 18), slice(12, 18), "centre"), (slice(20, 30), slice(12, 18), "bottom")],
)  # fmt: skip
def test_words_say_what_a_picture_shows(rows: slice, columns: slice, place: str) -> None:
    heat = np.zeros((30, 30), np.float32)
    heat[rows, columns] = 1
    (exhibit,) = draw_gallery(np.zeros((1, 30, 30, 3), np.uint8), heat[None], [ERROR])
    assert exhibit.caption == "b: truth mel (2.0%), predicted nv (98.0%)"
    assert exhibit.alternative == f"b and its Grad-CAM heat map: the evidence for nv is strongest at the {place}"


def test_a_map_that_is_alike_everywhere_is_not_drawn_and_names_no_place() -> None:
    image = np.full((1, 30, 30, 3), 90, np.uint8)
    flat, empty = (draw_gallery(image, np.full((1, 30, 30), heat), [ERROR])[0] for heat in (0.9999, 0.0))
    assert flat.alternative == "b and its Grad-CAM heat map: no place in it can be named that speaks for nv"
    assert flat.png == empty.png


def test_words_say_that_a_map_is_empty() -> None:
    (exhibit,) = draw_gallery(np.zeros((1, 30, 30, 3), np.uint8), np.zeros((1, 30, 30)), [ERROR])
    assert exhibit.alternative == "b and its Grad-CAM heat map: nothing in it speaks for nv"
