"""TensorBoard opened in a browser on the runs of a small study: is what the README promises really on its pages?"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

pytestmark = pytest.mark.slow
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # milliseconds; on a busy machine the page takes its time
JOBS = ("model-unet", "model-unetpp")


@pytest.fixture(scope="module")
def study(tmp_path_factory, train, small):
    """Two networks trained for two epochs, with pictures."""
    folder = tmp_path_factory.mktemp("study")
    words = [word for word in small if not word.startswith(("model=", "callbacks="))]
    words += ["callbacks.progress=false", "trainer.max_epochs=2", f"hydra.sweep.dir={folder}"]
    assert train("-m", *words, "model=unet,unetpp") == 0
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def ended(server):
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(20)


@pytest.fixture(scope="module")
def address(study, tmp_path_factory):
    """TensorBoard on a port of its own, ended with the tests; another port where somebody took it meanwhile."""
    said = tmp_path_factory.mktemp("tensorboard") / "stderr.txt"
    until = time.monotonic() + PATIENCE / 1000
    for _ in range(3):
        port = free_port()
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", study, "--host", "127.0.0.1", "--port", str(port)]
        with said.open("w") as stderr:
            server = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            while server.poll() is None and not answers(f"http://127.0.0.1:{port}/data/runs"):
                assert time.monotonic() < until, "TensorBoard does not answer"
                time.sleep(0.3)
            if server.poll() is None:
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            ended(server)
    pytest.fail(f"TensorBoard ended three times: {said.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, Debian's."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_tab(browser, address):
    """Open a tab of TensorBoard; at the end the page must not have complained."""
    complaints = []
    page = browser.new_page(viewport={"width": 1500, "height": 1600})
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)

    def opened(tab):
        page.goto(f"{address}/#{tab}")
        return page

    yield opened
    page.close()
    assert complaints == []


def shows(page, *texts):
    """Wait until each text can be seen."""
    for text in texts:
        page.get_by_text(text, exact=True).first.wait_for(state="visible")


def test_a_run_is_one_entry(study, address):
    with urllib.request.urlopen(f"{address}/data/runs") as answer:
        assert sorted(json.load(answer)) == [f"{job}/tensorboard" for job in JOBS]
    assert {path.parent for path in study.rglob("events.out.tfevents*")} == {study / job / "tensorboard" for job in JOBS}


def test_time_series_show_losses_and_dice(open_tab):
    page = open_tab("timeseries")
    shows(page, "hp", "loss", "lr", "speed", "val", "validation")
    assert page.get_by_text("epoch", exact=True).count() == 0  # a straight line that says nothing
    page.get_by_role("combobox", name="Filter tags (regex)").fill("loss/train|loss/val|val/dice$")
    for name in ("loss/train", "loss/val", "val/dice"):
        page.locator(f'scalar-card [title="{name}"]').first.wait_for(state="visible")


def test_custom_scalars_show_both_charts_with_a_curve_per_run(open_tab):
    page = open_tab("custom_scalars")
    shows(page, "Loss", "training and validation", "Dice", "per class", "Matches (4)", "Matches (2)")


def test_images_show_the_panel_and_the_confusion_matrix(open_tab):
    page = open_tab("images")
    shows(page, "validation", "validation/cases", "validation/confusion")
    sizes = []
    until = time.monotonic() + PATIENCE / 1000
    while len(sizes) < 4 and time.monotonic() < until:
        page.wait_for_timeout(200)
        found = page.locator("img").evaluate_all("all => all.map(e => [e.naturalWidth, e.naturalHeight])")
        sizes = [size for size in found if min(size) > 50]
    assert len(sizes) == 4, "a panel and a matrix of each run"
    assert len({tuple(size) for size in sizes}) == 2


def test_hparams_compare_the_runs_by_what_differs(open_tab):
    page = open_tab("hparams")
    shows(page, "UNet", "UNetPlusPlus", "hp/dice")
    headers = [text.strip() for text in page.locator(".table-header").all_inner_texts()]
    assert headers[:3] == ["Trial ID", "Show Metrics", "model"]  # the column in which the runs differ comes first
    assert "hp/dice" in headers
    assert headers.index("hp/dice") < headers.index("loss/train")
