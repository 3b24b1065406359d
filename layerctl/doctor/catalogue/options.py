"""Causes, still to be written."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import Cause

CAUSES: dict[str, Cause] = {}
