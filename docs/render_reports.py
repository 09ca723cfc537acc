"""Makes the pictures of report pages in `docs/assets/`, of small runs, with the Chromium of this machine.

    make pictures

The runs train for some dozen steps, so their numbers say nothing about the method; the pictures show the pages. They
need playwright, which `make install` brings, and a `chromium` on the path.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
WIDTH, HEIGHT, COLORS = 960, 1080, 96

SIZES = (
    "--models gpt-neo,mamba --stages 2 --preset cpu --set scratch.attention.width=16 --set scratch.recurrent.width=16 "
    "--set scratch.attention.layers=2 --set scratch.recurrent.layers=2 "
    "--set search.steps=40 --set search.warmup_steps=10 --set search.batch_size=16 "
    "--set finetune.steps=20 --set finetune.batch_size=16 --set task.train=600 --set task.val=100 --set task.test=200"
)
TASKS = "mad-noisy-recall@seq_len=32,mad-compression@seq_len=16"
COMMANDS = (
    f"search --task mad-compression@seq_len=16 --strategy darts --set run.log_every=2 --out search {SIZES}",
    f"compare --task {TASKS} --seeds 2 --learning-rates 0.004 --baselines components --budgets tokens "
    f"--all-paths --path-seeds 1 --out comparison {SIZES}",
    f"transfer --proxy {TASKS} --task mad-fuzzy-recall@seq_len=32 --seeds 2 --learning-rates 0.004 --out transfer "
    f"{SIZES}",
)
SELECT = "select search --pareto loss,cache_bytes@1024"


def run(command: str, folder: Path) -> None:
    """Run a command of manticore in a folder. Raises CalledProcessError if it fails."""
    print(f"manticore {command}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MANTICORE_CACHE": str(folder / "cache")}
    subprocess.run(
        [sys.executable, "-m", "manticore.cli", *shlex.split(command)], cwd=folder, env=environment, check=True
    )


def save(picture: bytes, name: str) -> None:
    """Write a picture with few colors, so that it is small."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLORS)
    image.save(ASSETS / f"report-{name}.png", optimize=True)
    print(f"report-{name}.png: {(ASSETS / f'report-{name}.png').stat().st_size:,} bytes")


def top_of(page: Any, file: Path) -> bytes:
    """The upper part of a report page."""
    page.goto(file.as_uri())
    picture: bytes = page.screenshot()
    return picture


def main() -> None:
    """Run the commands and make the pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = Path(temporary)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        for command in COMMANDS:
            run(command, folder)
        for name in ("search", "comparison", "transfer"):
            save(top_of(page, folder / name / "report.html"), name)
        run(SELECT, folder)
        page.goto((folder / "search" / "report.html").as_uri())
        save(page.locator("section", has=page.get_by_role("heading", name="Pareto front")).screenshot(), "pareto")
        browser.close()


if __name__ == "__main__":
    main()
