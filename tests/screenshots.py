"""``make screenshots``: pictures of the console for the documentation, from drawn portraits.

    python -m tests.screenshots [--all FOLDER [--only WORD] [--days N]]

Writes deploy/console.png and deploy/queue.png. ``--all`` draws every page instead, at three widths and in both themes,
and for each page one sheet of all six. ``--days`` is how many days of decisions there are.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from db.access import people, sign_ins
from db.store.session import Database
from tests.drawn_record import fill

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
WIDTHS = (1440, 1024, 390)
THEMES = ("light", "dark")
#: Pixels of a row of a sheet, and between its pictures.
_SHEET_ROW, _GAP = 800, 8
#: Pages to look at, by role and name of the file.
PAGES = {
    "lee": {
        "queue": "/", "queue-empty": "/?state=withdrawn", "case": "/cases/1", "case-copies": "/cases/2",
        "case-appealed": "/cases/8", "case-restricted": "/cases/7", "case-waiting": "/cases/6", "closed": "/cases/9",
        "restricted": "/restricted", "samples": "/samples", "overview": "/overview", "thresholds": "/thresholds",
        "team": "/team", "people": "/people", "audit": "/audit", "help": "/help", "display": "/look",
        "missing": "/cases/4711", "search": "/?q=lena", "all-cases": "/?state=all&order=age", "quality": "/quality",
        "reviewer-figures": "/quality/reviewers/sam", "policy": "/policies/default", "sample": "/samples/1",
        "exports": "/exports?since=2026-01-01",
    },
    "pat": {"reviewer-restricted": "/cases/7", "password": "/password", "my-figures": "/quality/me"},
    "cyn": {"auditor-case": "/cases/1"},
    "": {"sign-in": "/sign-in"},
}  # fmt: skip


def main() -> None:
    """Fill a record, start a console on it, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="of all pages those with this word in their names")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="draw every page, in all widths and themes")
    parser.add_argument("--days", type=int, default=5, metavar="N", help="days of decisions, with --all")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        _console(Path(folder), options.days if options.all else 0) as (database, url),
        _chromium() as browser,
    ):
        if options.all:
            _every_page(database, url, browser, options.all, options.only)
        else:
            _documentation(database, url, browser)


def _documentation(database: Database, url: str, browser: Browser) -> None:
    page = _visit(database, url, browser, "pat", 1440, "light")
    page.goto("/cases/1", wait_until="networkidle")
    page.keyboard.press("h")
    page.wait_for_timeout(1200)
    page.screenshot(path=DEPLOY / "console.png")
    page.goto("/", wait_until="networkidle")
    page.screenshot(path=DEPLOY / "queue.png")


def _every_page(database: Database, url: str, browser: Browser, folder: Path, only: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for theme in THEMES:
            for name, paths in PAGES.items():
                page = _visit(database, url, browser, name, width, theme)
                for title, path in ((title, path) for title, path in paths.items() if only in title):
                    page.goto(path, wait_until="load")
                    page.wait_for_timeout(1000)
                    page.screenshot(path=folder / f"{title}-{width}-{theme}.png", full_page=True)
                page.context.close()
    for title in (title for paths in PAGES.values() for title in paths if only in title):
        _sheet([[folder / f"{title}-{width}-{theme}.png" for width in WIDTHS] for theme in THEMES]).save(
            folder / f"sheet-{title}.png"
        )


def _sheet(rows: list[list[Path]]) -> Image.Image:
    """The pictures side by side, each half as large and cut off at the bottom."""
    pictures = [[Image.open(path).convert("RGB") for path in row] for row in rows]
    small = [[one.resize((one.width // 2, one.height // 2)) for one in row] for row in pictures]
    height = min(_SHEET_ROW, max(one.height for row in small for one in row))
    sheet = Image.new("RGB", (sum(one.width + _GAP for one in small[0]), len(small) * (height + _GAP)), "#808080")
    for down, row in enumerate(small):
        across = 0
        for one in row:
            sheet.paste(one.crop((0, 0, one.width, min(height, one.height))), (across, down * (height + _GAP)))
            across += one.width + _GAP
    return sheet


def _visit(database: Database, url: str, browser: Browser, name: str, width: int, theme: str) -> Page:
    size = {"width": width, "height": 900 if width > 500 else 844}
    page = browser.new_context(base_url=url, viewport=size, color_scheme=theme).new_page()  # type: ignore[arg-type]
    if name:
        with database.writing() as session:
            token = sign_ins.make_link(session, people.get_by_name(session, name))
        page.goto(f"/link/{token}")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{url}/")
    return page


@contextmanager
def _chromium() -> Iterator[Browser]:
    path = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)
    if path is None:
        sys.exit("no Chromium on this machine: install one (Debian: chromium)")
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*root, "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def _console(folder: Path, days: int) -> Iterator[tuple[Database, str]]:
    database = Database(f"sqlite:///{folder}/unmask.db")
    database.upgrade()
    fill(database, days)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {
        "UNMASK_DATABASE_URL": f"sqlite:///{folder}/unmask.db",
        "UNMASK_BLIND_SHARE": "0",
        "UNMASK_CONSOLE_PROFILE_URL": "https://social.example/users/{account}",
    }
    command = [sys.executable, "-m", "worker", "console", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, cwd=ROOT)
    _wait_for(port)
    yield database, f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()
    database.close()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the console did not start")


if __name__ == "__main__":
    main()
