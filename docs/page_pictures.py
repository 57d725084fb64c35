"""Draw the pictures of the interactive page that README and documents show; needs Chromium and its driver.

    cosim compare ieee37_stress --out results/pictures
    python docs/page_pictures.py results/pictures
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

DOCS = Path(__file__).resolve().parent
STEPS = (4, 12, 19)
PAGE = (1400, 1230)
MAP = (620, 640)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser(profile: str) -> Any:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, _BROWSERS)))
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def opened(driver: Any, page: Path, size: tuple[int, int]) -> None:
    """Open a page, light, in a window of a size, and wait until all of it is drawn."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(page.resolve().as_uri())
    wait(driver, "return document.documentElement.dataset.ready === 'all'")


def wait(driver: Any, condition: str) -> None:
    """Wait until a condition holds, and for what it draws."""
    WebDriverWait(driver, 60, 0.05).until(lambda d: d.execute_script(condition))
    driver.execute_async_script("setTimeout(arguments[0], 500)")


def move(driver: Any, step: int) -> None:
    """Move the slider."""
    driver.execute_script(
        "const s = document.getElementById('step'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", step
    )
    wait(driver, f"return document.documentElement.dataset.shown === '{step}'")


def picture(driver: Any, left: float, top: float, size: tuple[int, int]) -> Image.Image:
    """What the page shows at a place."""
    clip = {"x": left, "y": top, "width": size[0], "height": size[1], "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def save(image: Image.Image, name: str) -> None:
    """Write a picture; all its colours are kept, as a palette would break the colour bar into bands."""
    image.save(DOCS / name, optimize=True)


def main(folder: Path) -> None:
    """Draw the page of a comparison at one step, and its slider at three."""
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            opened(driver, folder / "page.html", PAGE)
            move(driver, STEPS[-1])
            save(picture(driver, 0, 0, PAGE), "page.png")
            opened(driver, folder / "page.html", MAP)
            series = Image.new("RGB", (MAP[0] * len(STEPS), MAP[1]))
            top = driver.execute_script(
                "return document.querySelector('.controls.time').getBoundingClientRect().top + scrollY - 2"
            )
            for place, step in enumerate(STEPS):
                move(driver, step)
                series.paste(picture(driver, 0, top, MAP), (place * MAP[0], 0))
            end = driver.execute_script(
                "return document.getElementById('map').getBoundingClientRect().bottom + scrollY"
            )
            save(series.crop((0, 0, series.width, int(end - top))), "page_slider.png")
        finally:
            driver.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
