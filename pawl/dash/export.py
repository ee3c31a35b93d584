"""The diagnosis as one HTML file that opens offline: data, charts and code stand in the file.

A policy in the page (CSP) allows the file's own scripts and styles by their hashes and nothing
else: no network, no foreign code. The data stand in a script element of type application/json with
`<`, `>` and `&` escaped; the page puts every text into the document as text. Left out: what is
shown (`page`), how it looks (`static/`), the live page.

    pawl doctor RUN --html report.html
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pawl.dash.page import VERSION, run_data
from pawl.doctor.diagnose import Diagnosis
from pawl.errors import PawlError
from pawl.store.files import write_atomic

STATIC = Path(__file__).with_name("static")
SCRIPTS = ("uPlot.iife.min.js", "charts.js", "report.js")
STYLES = ("uPlot.min.css", "report.css")


def write_html(diagnoses: Sequence[Diagnosis], path: Path) -> None:
    """Write the report of one or several runs; raises PawlError when the file cannot be written."""
    body = {"version": VERSION, "runs": [run_data(d) for d in diagnoses]}
    name = diagnoses[0].log.path.name if len(diagnoses) == 1 else f"{len(diagnoses)} runs"
    try:
        write_atomic(path, page(body, f"Diagnosis of {name}"))
    except PawlError as e:  # a path that the user gave: exit 2
        raise PawlError(e.what, e.where, "check that the folder exists and may be written") from e


def page(data: dict[str, Any], title: str) -> str:
    """The page as text; data: what `report.js` shows, title: any text."""
    parts = {name: _static(name) for name in (*SCRIPTS, *STYLES)}
    frame = {
        **parts,
        "csp": policy([parts[n] for n in SCRIPTS], [parts[n] for n in STYLES]),
        "title": html.escape(title.encode("utf-8", "replace").decode("utf-8")),
        "data": embedded(data),
    }
    return re.sub(r"\{\{([\w.]+)\}\}", lambda m: frame[m[1]], _static("report.html"))


def embedded(data: object) -> str:
    """JSON in ASCII that no HTML parser can take for markup; raises ValueError on nan or inf."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A content security policy under which these texts run and look, and nothing is fetched."""
    return (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; "
        f"style-src {' '.join(map(_hash, styles))}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
