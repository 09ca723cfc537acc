"""Makes the pictures of report pages in `docs/assets/`, of small runs, with the Chromium of this machine.

    make pictures

The runs train for some dozen steps, so their numbers say nothing about the method; the pictures show the pages. They
need playwright, which `make install` brings, and a `chromium` on the path. `python docs/render_reports.py FOLDER` keeps
the runs in a folder, and does not repeat those that it has.
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

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
WIDTH, HEIGHT, COLORS = 960, 1080, 256

SIZES = (
    "--models gpt-neo,mamba --stages 2 --preset cpu --set scratch.attention.width=16 --set scratch.recurrent.width=16 "
    "--set scratch.attention.layers=2 --set scratch.recurrent.layers=2 "
    "--set search.steps=40 --set search.warmup_steps=10 --set search.batch_size=16 "
    "--set finetune.steps=20 --set finetune.batch_size=16 --set task.train=600 --set task.val=100 --set task.test=200"
)
COMMANDS = {
    "search": "search --task mad-compression --strategy darts --set run.log_every=2",
    "comparison": "compare --task mad-compression --task mad-selective-copying --seeds 2 --learning-rates 0.004 "
    "--baselines components --budgets tokens --all-paths --path-seeds 1",
    "transfer": "transfer --proxy mad-compression --proxy mad-selective-copying --task mad-fuzzy-recall --seeds 2 "
    "--learning-rates 0.004",
}
SELECT = "select search --pareto score,cache_bytes@1024"


def run(command: str, folder: Path) -> None:
    """Run a command of manticore in a folder. Raises CalledProcessError if it fails."""
    print(f"manticore {command}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MANTICORE_CACHE": str(folder / "cache")}
    program = [sys.executable, "-m", "manticore.cli", *shlex.split(command)]
    subprocess.run(program, cwd=folder, env=environment, check=True)


def save(picture: bytes, name: str) -> None:
    """Write a picture with few colors, so that it is small."""
    from PIL import Image

    file = ASSETS / f"report-{name}.png"
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)  # it keeps colors of small marks
    print(f"{file.name}: {file.stat().st_size:,} bytes")


def take_pictures(folder: Path) -> None:
    """Make the runs that `folder` does not have, and the pictures: of the top of each page, and of a Pareto front."""
    from playwright.sync_api import sync_playwright

    for name, command in COMMANDS.items():
        if not (folder / name / "report.html").exists():
            run(f"{command} --out {name} {SIZES}", folder)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        for name in COMMANDS:
            page.goto((folder / name / "report.html").as_uri())
            save(page.screenshot(), name)
        run(SELECT, folder)
        page.goto((folder / "search" / "report.html").as_uri())
        save(page.locator("section", has=page.get_by_role("heading", name="Pareto front")).screenshot(), "pareto")
        browser.close()


def main() -> None:
    """Make the pictures, with runs in the folder that is named, or in a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        take_pictures(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))


if __name__ == "__main__":
    main()
