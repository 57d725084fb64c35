"""What an analysis makes of a sweep or a study: tables, figures and a conclusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONCLUSION_FILE = "conclusion.md"


@dataclass(frozen=True)
class Findings:
    """Tables by name (the first is the main one), figures by name, and a conclusion as Markdown.

    Attributes:
        captions: a sentence below a figure, by its name.
    """

    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    conclusion: str
    captions: Mapping[str, str] = field(default_factory=dict)
