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
from sqlalchemy import select, text, update

from db.access import people, sign_ins
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.quality import sampling
from db.review import case_context, lookalikes, reviews, team
from db.review.restrictions import restrict_case
from db.review.reviews import Decision
from db.review.settings import ReviewSettings
from db.schema import Case, Policy, Preview
from db.store import locks
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from tests import portraits

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
WIDTHS = (1440, 1024, 390)
THEMES = ("light", "dark")
#: Pixels of a row of a sheet, and between its pictures.
_SHEET_ROW, _GAP = 800, 8
_ONE_VERDICT_EACH = """
INSERT INTO verdicts (sample_id, reviewer, verdict)
SELECT id, 'pat', CASE WHEN id % 4 = 0 THEN 'real' ELSE 'fake' END FROM samples WHERE id > 1
"""
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
ACCOUNTS = (
    ("lena-brandt", 0.9991, "default", 2),
    ("marco.v", 0.9987, "default", 1),
    ("nadia_k", 0.9968, "dating", 1),
    ("j.okafor", 0.9942, "default", 3),
    ("summer-sale-4711", 0.9971, "marketplace", 1),
    ("tomas_l", 0.9915, "dating", 1),
    ("k-family", 0.9929, "default", 1),
    ("ines.moreau", 0.9958, "dating", 1),
    ("old-decision", 0.9938, "default", 1),
)


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
    _fill(database, days)
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


def _fill(database: Database, days: int) -> None:
    _people_and_thresholds(database)
    for number, (account, score, policy, count) in enumerate(ACCOUNTS):
        _flag(database, number, account, score, policy, count)
    _copies(database)
    _age(database)
    _work(database)
    if days:
        _days_of_work(database, days)


def _days_of_work(database: Database, days: int) -> None:
    """Decisions of so many days, and samples with their verdicts."""
    with database.writing() as session:
        images.add_images(session, [NewImage(f"day-{one}", f"day-{one}", "x.jpg") for one in range(8 * days)], -60)
        found = [Scored(f"day-{one}", "default", 0.99, "f" * 64, 400_000, 512, 512) for one in range(8 * days)]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))
        for number, case in enumerate(session.scalars(select(Case).where(Case.account_id.like("day-%")))):
            decision = ("confirmed", "confirmed", "dismissed", "unsure")[number % 4]
            made = Decision(case.id, case.version, ("sam", "pat")[number % 2], decision)
            reviews.decide_case(session, made, ReviewSettings())
        sampling.draw_strata(session, sampling.Sizes(10, 10, 10), "lee", 60)
        session.execute(text(_ONE_VERDICT_EACH))
        session.execute(text("UPDATE samples SET judged = 1 WHERE id > 1"))
    with database.writing() as session:
        session.execute(text("DROP TRIGGER reviews_no_update"))  # only here: the decisions were made on several days
        session.execute(
            text("UPDATE reviews SET created_at = datetime('now', '-' || (id % :days) || ' days')"), {"days": days}
        )
        session.execute(text("UPDATE samples SET held_by = 'lee', held_until = '2999-01-01' WHERE id = 1"))


def _people_and_thresholds(database: Database) -> None:
    reals = [(number / 1006) ** 6 for number in range(1006)]
    with database.writing() as session:
        session.add_all([Policy(name=name, created_by="lee") for name in ("dating", "marketplace")])
        version = versions.register(session, "unmask-1", "1" * 64, "unmask-1", {"name": "unmask-1", "reference": {
            "name": "reals", "scores": reals}})  # fmt: skip
        for policy in ("default", "dating"):
            thresholds.set_value(session, version.id, policy, 0.985, "lee", "0.3 % of real photos")
        for name, role in {"pat": "reviewer", "sam": "reviewer", "lee": "lead", "cyn": "auditor"}.items():
            people.add_person(session, name, role)
        settings = ReviewSettings()
        team.save_template(session, settings, "Artefacts at the ears", "artefacts", "Ears and earrings differ.", "lee")
        team.save_template(session, settings, "Stock photo", "other", "The photo is a stock picture.", "lee")


def _flag(database: Database, number: int, account: str, score: float, policy: str, count: int) -> None:
    drawn = [portraits.portrait(10 * number + each) for each in range(count + 2)]
    ids = [f"{account}-{each}" for each in range(len(drawn))]
    with database.writing() as session:
        images.add_images(session, [NewImage(one, account, f"{one}.jpg", policy) for one in ids], -60)
        size = (portraits.WIDTH, portraits.HEIGHT)
        found = [
            Scored(one, policy, score - each / 1000 if each < count else 0.02, f"{number}{each}" * 32, 400_000, *size)
            for each, one in enumerate(ids)
        ]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))
        if account != "tomas_l":  # whose photo still waits for a worker
            for one, picture in zip(ids, drawn, strict=True):
                session.add(Preview(image_id=one, kind="photo", picture=portraits.jpeg(picture, 512)))
                session.add(Preview(image_id=one, kind="original", picture=portraits.jpeg(picture)))
                session.add(Preview(image_id=one, kind="heatmap", picture=portraits.heatmap()))


def _copies(database: Database) -> None:
    """The photo of marco.v is used by summer-sale-4711 and nadia_k, too."""
    copied, hashes = portraits.portrait(10), {"marco.v-0": bytes(64), "summer-sale-4711-0": bytes(64)}
    hashes["nadia_k-0"] = bytes([1] + [0] * 63)
    with database.writing() as session:
        lookalikes.store_hashes(session, hashes)
        for one in ("summer-sale-4711-0", "nadia_k-0"):
            for kind, side in (("photo", 512), ("original", 4096)):
                picture = portraits.jpeg(copied, side)
                session.execute(
                    update(Preview).where(Preview.image_id == one, Preview.kind == kind).values(picture=picture)
                )


def _age(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE cases SET created_at = datetime('now', '-' || (id * id * 37) || ' minutes')"))
        session.execute(text("UPDATE images SET created_at = datetime('now', '-41 days')"))


def _work(database: Database) -> None:
    with database.writing() as session:
        facts = {"Member since": "2026-03-02", "Followers": 3, "Reports": 2, "E-mail confirmed": True, "Plan": "free"}
        case_context.set_facts(session, "lena-brandt", facts)
        case_context.add_comment(session, 1, "sam", "Two users reported this account for romance fraud.")
        restrict_case(session, 7, "pat", "minor")
        for case_id, decision in ((8, "confirmed"), (9, "dismissed")):
            version = session.get_one(Case, case_id).version
            reviews.decide_case(session, Decision(case_id, version, "sam", decision, "artefacts"), ReviewSettings())
        version = session.get_one(Case, 8).version
        reviews.appeal_decision(session, 8, version, "support", "She sent a photo with today's newspaper. It is her.")
        locks.acquire(session, "sweeper", "worker-1", 3600)


if __name__ == "__main__":
    main()
