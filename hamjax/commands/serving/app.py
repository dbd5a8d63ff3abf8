"""The API of a trained network, and its page."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePath, PureWindowsPath
from typing import Annotated, Any

from fastapi import FastAPI, File, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.formparsers import MultiPartParser

import hamjax
from hamjax.commands.serving import guard
from hamjax.commands.serving.answers import Answered, Health, ModelFacts, Problem
from hamjax.commands.serving.facts import model_facts, served_facts
from hamjax.commands.serving.page import page_files
from hamjax.data.preparation.images import usable_cores
from hamjax.data.unlabelled import Decoded, ImageFile, Unreadable, Upload, read_image
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.prediction import Explained, Prediction
from hamjax.report.evidence import Evidence
from hamjax.report.gallery import describe, overlay
from hamjax.report.predictions import as_record
from hamjax.report.sections.about import USE
from hamjax.runtime.errors import name_some

MAX_IMAGES = 16  # of a request: 64 requests of so many are answered within a minute by most networks
LIMITS = {"bytes": guard.MAX_BYTES, "images": MAX_IMAGES, "seconds": guard.SECONDS}
NOT_READ = f"not multipart/form-data with 1 to {MAX_IMAGES} files `images`, or none of them can be read"

Ask = Callable[[Decoded, bool], "Future[Explained]"]
# What is larger would be written to a temporary file while it is received.
MultiPartParser.spool_max_size = guard.MAX_BYTES


def make_app(scorer: ImageScorer, ask: Ask, evidence: Evidence, host: str) -> FastAPI:
    """Make the application.

    Args:
        scorer: of the run.
        ask: `Batcher.ask` of the scorer.
        evidence: of the run's report.
        host: that the server will listen on.
    """
    app = FastAPI(
        title="hamjax serve",
        description=USE,
        version=hamjax.__version__,
        # FastAPI's own pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        responses=_problems(403),
    )
    app.add_middleware(guard.Guard, host=host)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(Exception, _defect)
    facts = model_facts(served_facts(scorer.facts()), scorer.shapes[0], evidence, LIMITS)
    predictor = _Predictor(scorer, ask)

    @app.post("/v1/predict", response_model=Answered, responses=_problems(400, 408, 413, 422, 429))
    async def predict(
        images: Annotated[list[UploadFile], File(description="JPEG or PNG files", max_length=MAX_IMAGES)],
        heat_map: Annotated[bool, Query(description="also say what in each image spoke for its class")] = False,
    ) -> JSONResponse:
        """Predict images. Nothing of them is kept."""
        files = [_named(each.filename or "", await each.read()) for each in images]
        return JSONResponse(await predictor.predict(files, heat_map))

    @app.get("/v1/model", response_model=ModelFacts)
    async def model() -> ModelFacts:
        """Return what predicts, what it was trained on, how good it is and for whom it is worse."""
        return facts

    @app.get("/healthz", response_model=Health)
    async def healthz() -> Health:
        """Return that the network is ready."""
        return Health(status="ok")

    for path, (content, kind) in page_files(facts, evidence).items():
        app.add_api_route(path, _fixed(content, kind), include_in_schema=False)
    return app


class _Predictor:
    """From files to what the API answers."""

    def __init__(self, scorer: ImageScorer, ask: Ask) -> None:
        self._scorer, self._ask = scorer, ask
        self._facts = served_facts(scorer.facts())
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")

    async def predict(self, files: Sequence[ImageFile], heat_map: bool) -> dict[str, Any]:
        """Return the body of an answer.

        Raises:
            HTTPException: no file could be read.
        """
        loop = asyncio.get_running_loop()
        decoding = [loop.run_in_executor(self._pool, read_image, file, self._scorer.shapes) for file in files]
        decoded = list(zip(files, await asyncio.gather(*decoding), strict=True))
        images = [(file, image) for file, image in decoded if isinstance(image, Decoded)]
        unreadable = [image for _, image in decoded if isinstance(image, Unreadable)]
        if not images:
            raise HTTPException(422, name_some(f"{each.path}: {each.reason}" for each in unreadable))
        asked = [asyncio.wrap_future(self._ask(image, heat_map)) for _, image in images]
        answers = await asyncio.gather(*asked)
        return {
            "images": [
                self._record(file, image, answer) for (file, image), answer in zip(images, answers, strict=True)
            ],
            "unreadable": [{"path": each.path, "reason": each.reason} for each in unreadable],
        }

    def _record(self, file: ImageFile, image: Decoded, answer: Explained) -> dict[str, Any]:
        learned_from = self._scorer.learned_from(file.image_id)
        record = as_record(Prediction(file, answer.score, image.turned, learned_from), self._facts)
        if answer.heat is None:
            return {**record, "heat_map": None, "heat_map_text": None}
        png = base64.b64encode(overlay(answer.heat)).decode()
        text = describe(file.image_id, answer.score.predicted, answer.heat)
        return {**record, "heat_map": f"data:image/png;base64,{png}", "heat_map_text": text}


def _named(name: str, content: bytes) -> ImageFile:
    # Some programs send the path that a file has on their machine, which is nobody's business.
    name = PureWindowsPath(name).name or "image"
    return ImageFile(name, PurePath(name).stem, Upload(content))


def _fixed(content: str, kind: str) -> Any:
    async def give() -> Response:
        return Response(content, media_type=kind)

    return give


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {400: "the form cannot be read", 422: NOT_READ} | guard.REFUSALS
    return {status: {"model": Problem, "description": said[status]} for status in statuses}


async def _not_valid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # Not what was sent: that can be an image.
    said = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"detail": f"{NOT_READ}: {name_some(said)}"}, 422)


async def _defect(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "a defect of the server; its log says more"}, 500)
