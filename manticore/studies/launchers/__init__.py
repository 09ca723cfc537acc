"""Launchers: what starts the processes that run the trials of a study (`--launcher`), one file each."""

from __future__ import annotations

from manticore.studies.launchers.base import Crew, launchers, start_crew

# isort: split
from manticore.studies.launchers import local, ray, submitit

__all__ = ["Crew", "launchers", "local", "ray", "start_crew", "submitit"]
