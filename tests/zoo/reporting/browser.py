"""A real browser that loads a page and tells what it then holds."""

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"
)


def load(url: str, profile: Path, *options: str) -> tuple[str, str]:
    """Return the document after some seconds of the page's own time, and what the browser logs."""
    assert BROWSER is not None
    quiet = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=3500",
    )  # fmt: skip
    browser = subprocess.run(
        [BROWSER, *quiet, *options, "--dump-dom", url],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return browser.stdout, browser.stderr
