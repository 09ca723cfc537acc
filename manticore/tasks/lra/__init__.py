"""The tasks of the Long Range Arena (Tay et al., arXiv 2011.04006), and the archive of their files."""

from __future__ import annotations

ARCHIVE = "the Long Range Arena's archive (https://storage.googleapis.com/long-range-arena/lra_release.gz, a tar file)"
"""The archive of the files that the authors published."""
