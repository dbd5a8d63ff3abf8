"""Download or convert ImageNet weights of Keras, and try them on a picture.

    hamjax weights --model resnet50
    hamjax weights --model resnet50 --keras-h5 FILE --out resnet50.npz
    hamjax weights --model resnet50 --out resnet50.npz --classify dog.jpg

The first line downloads the official weights to where runs look for them (XDG_CACHE_HOME), ahead of a job that will
have no network. The others convert a file, by default the official one; train from the result with
--config.model.weights=resnet50.npz. --classify names the five best ImageNet classes of a picture. It needs a file
with its top: the official one whose name lacks `notop`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hamjax.commands.arguments import make_parser, one_of
from hamjax.data.preparation.images import decode, resize
from hamjax.evaluation.eval_step import make_eval_step
from hamjax.models.initialization import init_variables
from hamjax.models.pretrained import KEY_MAPS, read_tensors, save_weights
from hamjax.models.pretrained.convert import IMAGENET_CLASSES, fill
from hamjax.models.pretrained.official_files import imagenet_class_names, published_weights
from hamjax.models.registry import MODEL_SPECS, create_model
from hamjax.runtime.accelerators import find_devices
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import user_path


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("weights", __doc__)
    parser.add_argument("--model", required=True, type=one_of(KEY_MAPS), help=f"one of {', '.join(KEY_MAPS)}")
    parser.add_argument(
        "--keras-h5", type=user_path, help="a .keras, .h5 or .weights.h5 file (default: fetch the official one)"
    )
    parser.add_argument(
        "--out", type=user_path, help="where the converted weights go, an .npz (default: the user's cache folder)"
    )
    parser.add_argument(
        "--classify", type=user_path, metavar="IMAGE", help="name the five best ImageNet classes of a picture"
    )
    parser.add_argument(
        "--class-index", type=user_path, metavar="FILE", help="Keras's imagenet_class_index.json (default: fetch it)"
    )
    args = parser.parse_args(words)
    if args.out is None and (args.keras_h5 or args.classify):
        parser.error("expected --out beside --keras-h5 and --classify")
    if args.out is None:
        published_weights(args.model)
        return
    find_devices()
    path = args.keras_h5 or published_weights(args.model, top=True)
    model, variables = convert(args.model, path, args.out)
    if args.classify:
        print(classify(args.model, model, variables, args.classify, args.class_index))


def convert(name: str, path: Path, out: Path) -> tuple[Any, dict[str, Any]]:
    """Convert a file and write the result; return the network with its variables."""
    weights = read_tensors(name, path)
    # A file without its top still trains; only --classify needs the 1000 classes.
    has_top = any(
        t.path == "params/head/predictions/bias" and len(t.value) == IMAGENET_CLASSES for t in weights.tensors
    )
    model = create_model(name, head="imagenet" if has_top else "linear")
    blank = init_variables(model, image_size=MODEL_SPECS[name].native_size, seed=0)
    variables = fill(name, blank, weights, where=path)
    save_weights(out, name, variables, source=path.name)
    print(f"{name} {'with' if has_top else 'without'} its top, converted from {path} to {out}")
    return model, variables


def classify(name: str, model: Any, variables: dict[str, Any], image: Path, class_index: Path | None) -> str:
    """Return the five most probable ImageNet classes of a picture, one a line."""
    if model.head != "imagenet":
        raise UserError("--classify: expected weights with their top, got none; use the file that is not called notop.")
    try:
        picture = decode(image.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{image}: expected a picture, got {error}; name another with --classify.") from error
    spec = MODEL_SPECS[name]
    pixels = jnp.asarray(resize(picture, spec.native_size, "squash")[None])
    logits = make_eval_step(model, spec.native_scale)(variables["params"], variables["batch_stats"], pixels)
    probabilities = np.asarray(jax.nn.softmax(logits[0]))
    try:
        names = imagenet_class_names(class_index)
    except UserError as error:
        # The names are a convenience: without them, or without a network, the numbers still say whether it works.
        print(f"{error}\nclasses are numbered instead; name the file with --class-index", file=sys.stderr)
        names = [f"class {i}" for i in range(len(probabilities))]
    # Five, as ImageNet's own scores have it.
    best = np.argsort(-probabilities)[:5]
    return "\n".join(f"{probabilities[i]:.3f}  {names[i]}" for i in best)
