"""The site, served and in a folder, and a browser to open it in: `make browser`.

`make test` skips them where Sphinx, Playwright or Chromium is missing; `make browser`, which CI runs, then fails.
"""

import os
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build/site"
MAKE = os.environ.get("NEEDS_CHROMIUM")  # set by `make browser`, which has just built the site
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser():
    missing = [name for name in ("sphinx", "myst_nb", "playwright", "axe_playwright_python") if not find_spec(name)]
    missing += [] if CHROMIUM else ["Chromium (Debian: apt-get install chromium)"]
    if missing:
        (pytest.fail if MAKE else pytest.skip)(f"The site is not tried in a browser: there is no {', '.join(missing)}.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site(browser):
    """The folder of the site."""
    if not MAKE:
        done = subprocess.run([sys.executable, ROOT / "docs/site/make.py"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return SITE


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session", params=["file", "http"])
def address(request, site):
    """Where the site's pages begin: in the folder, and on a server at a port that the system finds free."""
    if request.param == "file":
        yield f"file://{site}"
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()
