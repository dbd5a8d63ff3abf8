"""Serve a trained network to people and programs: a page for one image at a time, and an API.

    hamjax serve --workdir runs/cnn_s2
    curl -F images=@one.jpg -F images=@two.png "http://127.0.0.1:8000/v1/predict?heat_map=true"

The page is http://127.0.0.1:8000/, the API's description /openapi.json: POST /v1/predict (up to 16 JPEG or PNG files),
GET /v1/model (what the network was trained on and how good it is), GET /healthz. Only this machine is answered unless
--host says otherwise; there is no password. No image is kept. It is ready when it says where it serves; Ctrl-C ends it.
This is research software, not a medical device. The libraries are those of the extra `serve`:
pip install "hamjax[serve]"
"""

import argparse
import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from hamjax.commands.arguments import make_parser
from hamjax.report.stored import of_this_version, read_evidence
from hamjax.runtime.accelerators import find_devices, memory_needed
from hamjax.runtime.compiler import enable_compilation_cache
from hamjax.runtime.errors import UserError
from hamjax.runtime.extras import load_extra
from hamjax.runtime.memory import keep_freed_memory
from hamjax.runtime.paths import user_path

GRACE = 10  # seconds that answers in the making are waited for at the end


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("serve", __doc__)
    parser.add_argument("--workdir", required=True, type=user_path, help="a finished run")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: also for other machines (127.0.0.1)"
    )
    parser.add_argument("--port", default=8000, type=_port, help="0: a free one (8000)")
    args = parser.parse_args(words)
    for library in ("fastapi", "uvicorn", "python_multipart"):
        load_extra(library, "serve")
    evidence = read_evidence(args.workdir)
    # Before the network, which takes a while to be ready.
    with _listening(args.host, args.port) as listener:
        keep_freed_memory()
        find_devices()
        enable_compilation_cache("auto")
        with memory_needed():
            _serve(args, evidence, listener)
    print("stopped")


def _serve(args: argparse.Namespace, evidence: Any, listener: socket.socket) -> None:
    import uvicorn

    from hamjax.commands.serving.app import make_app
    from hamjax.commands.serving.batcher import Batcher
    from hamjax.evaluation.image_scorer import ImageScorer

    scorer = ImageScorer(args.workdir)
    print(f"{args.workdir}: compiling", flush=True)
    batcher = Batcher(scorer)
    with of_this_version(args.workdir):
        app = make_app(scorer, batcher.ask, evidence, args.host)
    # No log of requests; its own warnings name no image.
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_level="warning", access_log=False,
                            server_header=False, timeout_graceful_shutdown=GRACE)  # fmt: skip
    host, port = listener.getsockname()[:2]
    # From here on who asks is answered, if a moment later.
    listener.listen()
    print(f"serving {args.workdir} at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C stops)", flush=True)
    # uvicorn raises the signal again when it is done; that the user stopped it is no error.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    batcher.close()


def _listening(host: str, port: int) -> socket.socket:
    """Take the port.

    Raises:
        UserError: it is taken, or the machine has no such address.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # It does not listen yet: until the network is ready, nobody is answered.
            listener.bind(address)
            stack.pop_all()
            return listener
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: expected a free port of an address of this machine, got {error}; choose "
            "others, or --port 0 for a free one."
        ) from error


def _port(word: str) -> int:
    port = int(word)
    if not 0 <= port < 2**16:
        raise ValueError(word)
    return port
