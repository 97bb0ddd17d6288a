"""`wardstream evaluate TASK PATH [--json FILE] [--html FILE]`: the shipped models on patients given by the user."""

import json
import sys
from argparse import Namespace
from math import isfinite
from pathlib import Path
from typing import Any

from services.inference.manifest import ManifestError
from services.local.optional import lacking
from training.evaluation.figures import evaluate_scores
from training.evaluation.report import html_report, text_table
from training.evaluation.tasks import TASKS


def evaluate(
    task: str,
    path: Path,
    json_file: Path | None = None,
    html_file: Path | None = None,
    *,
    limit: int | None = None,
    repeats: int = 1000,
) -> dict[str, Any]:
    """Score `path` with the shipped model, write the files asked for, return what the JSON holds.

    Raises OSError (not found, not a picture, no place to write), KeyError for an unknown task or a missing column,
    ManifestError, ValueError (nobody to ask about, no outcome, a broken line), ModuleNotFoundError.
    """
    for file in (json_file, html_file):
        if file is not None and not file.parent.is_dir():
            raise NotADirectoryError(f"{file.parent} is no folder to write to")
    found: dict[str, Any] = plain(evaluate_scores(TASKS[task](path, limit), repeats=repeats))
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    if html_file is not None:
        html_file.write_text(html_report(found), encoding="utf-8")
    return found


def command(args: Namespace) -> int:
    """The command line's exit status: 0, or 1 with a sentence on standard error."""
    try:
        found = evaluate(args.task, args.path, args.json, args.html, limit=args.limit)
    except ModuleNotFoundError as error:
        return _refused(lacking(error.name))
    except KeyError as error:
        return _refused(f"the data set has no {error}")
    except (OSError, EOFError, ManifestError, ValueError) as error:
        return _refused(str(error))
    print(text_table(found))
    return 0


def _refused(why: str) -> int:
    print(f"wardstream evaluate: {why}", file=sys.stderr)
    return 1


def plain(value: Any) -> Any:
    """JSON-ready: numbers that do not exist (NaN) become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value
