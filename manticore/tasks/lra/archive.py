"""Where the Long Range Arena's files are to be had. Knows none of its tasks."""

from __future__ import annotations

ARCHIVE = "the Long Range Arena's archive (https://storage.googleapis.com/long-range-arena/lra_release.gz, a tar file)"
"""Tay et al., arXiv 2011.04006; the archive as its authors published it."""
