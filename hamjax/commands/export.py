"""Write the network of a run for another program, which runs it at once and is compared with the run.

    hamjax export --workdir runs/a --format onnx --out a.onnx
    hamjax export --workdir runs/a --format stablehlo --out a.stablehlo
    hamjax export --workdir runs/a --format keras --out a.keras
    hamjax export --workdir runs/a --format safetensors --out a.safetensors

It takes images [N, S, S, 3] of bytes (red, green, blue) of the run's size, any number of them, and gives probabilities
[N, 7]; the scaling of pixels is inside. The classes and the facts of the run are in the file's metadata. Neither the
data of the run nor an accelerator is needed. The libraries are those of the extra `export`:
pip install "hamjax[export]"
"""

from collections.abc import Sequence

import jax

from hamjax.commands.arguments import make_parser, one_of
from hamjax.exports.export import FORMATS, export
from hamjax.runtime.compiler import enable_compilation_cache
from hamjax.runtime.paths import user_path


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("export", __doc__)
    parser.add_argument("--workdir", required=True, type=user_path, help="the run directory")
    parser.add_argument(
        "--format",
        required=True,
        type=one_of(FORMATS),
        help="onnx, stablehlo (a program for JAX on CPU, CUDA and TPU), keras, or safetensors (weights alone)",
    )
    parser.add_argument(
        "--out", required=True, type=user_path, help="the file; for keras .keras, or .weights.h5 for weights alone"
    )
    parser.add_argument("--checkpoint", help="last, best or a step; default: training's choice")
    args = parser.parse_args(words)
    # No accelerator is woken, or found to be another process's: the comparison is made on the CPU.
    jax.config.update("jax_platforms", "cpu")
    enable_compilation_cache("auto")
    export(args.workdir, args.out, format=args.format, checkpoint=args.checkpoint)
