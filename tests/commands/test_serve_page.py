"""The page of `hamjax serve` in a browser: Debian's Chromium, driven by Playwright. Out of the default run."""

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from hamjax.commands.serving import guard
from hamjax.evaluation.predict import predict
from tests.helpers.served import encoded, write_reported_run
from tests.helpers.untrained_run import varied_images

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("quick_compiler")]
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
# As a browser hands over files that are dropped or pasted.
HAND_OVER = """([kind, content, name]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: "image/png"}));
  document.dispatchEvent(kind === "drop"
    ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
    : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
}"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("served") / "run"
    write_reported_run(workdir, size=32)
    return workdir


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "expected Debian's chromium, got none; install it: apt-get install chromium"
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, as who runs this in a container is.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, opened; whatever a test does, no request may leave and nothing may go wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(url)
    yield page
    context.close()
    assert not [each for each in asked if not each.startswith((f"{url}/", f"blob:{url}/", "data:"))]
    # What the API refuses, a browser notes as an error of its own.
    assert not [
        each for each in wrong if "status of 4" not in each and "blocked" not in each and "violates" not in each
    ]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "lesion.png"
    path.write_bytes(encoded(varied_images(1, 300)[0][:200]))
    return path


def _result(page: Page) -> str:
    """Wait for a result; return its heading."""
    expect(page.locator("#result")).to_be_visible()
    return page.locator("#predicted").inner_text()


def test_an_image_is_predicted_and_its_heat_map_lies_over_it(page: Page, run: Path, image: Path) -> None:
    (expected,) = predict(run, image).images
    page.get_by_label("Choose an image").set_input_files(image)
    assert _result(page).startswith(f"{expected.score.predicted}, ")
    assert expected.score.calibrated is not None
    shares = sorted(expected.score.calibrated, reverse=True)
    shown = page.locator("#bars .track").all_inner_texts()
    assert [text.strip() for text in shown] == [f"{share:.1%}" for share in shares]
    expect(page.locator("#bars caption")).to_have_text("calibrated probabilities")
    expect(page.locator("#set")).to_have_text(re.compile(r"^Not ruled out at 90%: [a-z, ]+\.$"))
    expect(page.get_by_role("status")).to_contain_text(f"lesion.png: predicted {expected.score.predicted}")
    for name in ("image", "overlay"):
        page.wait_for_function(f"document.getElementById('{name}').naturalWidth > 0")
    below, above = (page.locator(f"#{name}").bounding_box() for name in ("image", "overlay"))
    assert below == above
    assert below is not None
    assert below["width"] / below["height"] == pytest.approx(300 / 200, abs=0.01)
    page.get_by_label("Heat map").fill("0")
    assert page.locator("#overlay").evaluate("each => getComputedStyle(each).opacity") == "0"


def test_what_is_unlike_the_training_images_is_said_first(page: Page, image: Path, tmp_path: Path) -> None:
    white = tmp_path / "white.png"
    white.write_bytes(encoded(varied_images(1, 64)[0] * 0 + 255))
    page.get_by_label("Choose an image").set_input_files(white)
    _result(page)
    expect(page.locator("#notes")).to_contain_text("unlike the training images")


def test_what_the_network_is_stands_beside_it_always(page: Page) -> None:
    expect(page.get_by_text("not a medical device.")).to_be_visible()
    about = page.get_by_role("complementary", name="About this network")
    for said in ("What it was trained on", "How good it is", "For whom it is worse"):
        expect(about.get_by_role("heading", name=said)).to_be_visible()
    expect(about.get_by_role("row", name=re.compile("^balanced accuracy"))).to_contain_text("to")


def test_broken_and_too_large_files_are_answered_in_words(page: Page, image: Path, tmp_path: Path) -> None:
    broken, large = tmp_path / "broken.png", tmp_path / "large.png"
    broken.write_bytes(b"no image")
    large.write_bytes(bytes(guard.MAX_BYTES + 2**20))
    page.get_by_label("Choose an image").set_input_files(broken)
    expect(page.get_by_role("alert")).to_have_text("broken.png: no JPEG or PNG")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_label("Choose an image").set_input_files(large)
    expect(page.get_by_role("alert")).to_have_text("large.png: 33 MB are too many; up to 32 MB are taken.")
    assert "POST" not in sent
    expect(page.locator("#result")).to_be_hidden()
    page.get_by_label("Take a photograph").set_input_files(image)
    _result(page)
    expect(page.locator("#problem")).to_be_empty()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_images_are_dropped_and_pasted(page: Page, image: Path, kind: str) -> None:
    page.evaluate(HAND_OVER, [kind, base64.b64encode(image.read_bytes()).decode(), f"{kind}.png"])
    _result(page)
    expect(page.get_by_role("status")).to_contain_text(f"{kind}.png: predicted")


def test_the_keyboard_is_enough(page: Page, image: Path) -> None:
    # The browser is asked to hand over choosers with the first listener, and nobody waits until it does: not just
    # before the key.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    assert _focused(page) == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(image)
    _result(page)
    assert _focused(page) == "predicted"  # what a screen reader reads next
    page.keyboard.press("Tab")
    assert _focused(page) == "opacity"
    before = float(page.locator("#overlay").evaluate("each => each.style.opacity"))
    page.keyboard.press("ArrowLeft")
    assert float(page.locator("#overlay").evaluate("each => each.style.opacity")) == pytest.approx(before - 0.01)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert _focused(page) in ("file", "camera")


def test_the_policy_lets_no_request_leave(page: Page) -> None:
    blocked = "fetch('https://example.com/').then(() => 'left', () => 'blocked')"
    assert page.evaluate(blocked) == "blocked"
    assert page.evaluate("document.querySelectorAll('iframe, object, embed').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", WIDTHS)
def test_it_fits_the_screen(page: Page, image: Path, tmp_path: Path, name: str, scheme: str) -> None:
    width, height = WIDTHS[name]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.screenshot(path=tmp_path / f"before_{name}_{scheme}.png", full_page=True)
    page.get_by_label("Choose an image").set_input_files(image)
    _result(page)
    page.wait_for_function("document.getElementById('overlay').naturalWidth > 0")
    page.screenshot(path=tmp_path / f"{name}_{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def _focused(page: Page) -> str:
    return page.evaluate("document.activeElement.id")
