"""Result files: what was run, on what, by which code, and what came out."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from helpers.checkpoint import write_atomically
from helpers.data import ImageSet
from helpers.evaluation import accuracy
from helpers.models import parameter_count
from helpers.receptive_field import total
from helpers.recipes import PUBLISHED, Recipe
from helpers.runtime import machine, versions
from helpers.training import History


def result(recipe: Recipe, model: nn.Module, history: History, logits: Tensor, test: ImageSet, *, seed: int) -> dict:
    """Return a run's record: its origin, its recipe, every epoch, and the final figures (accuracy in percent)."""
    published = PUBLISHED.get(recipe.network)
    correct = int((logits.argmax(1).numpy() == test.labels).sum())
    return {
        "recipe": recipe.network,
        "recipe_hash": recipe.hash(),
        "recipe_values": asdict(recipe),
        "network": recipe.network,
        "parameters": parameter_count(model),
        "receptive_field": total(model),
        "seed": seed,
        "data_source": test.source,
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "epochs": history.rows,
        "final": {
            "test_accuracy": accuracy(logits, test.labels),
            "correct": correct,
            "seen": len(test),
            "train_minutes": sum(row["seconds"] for row in history.rows) / 60,
        },
        "published": asdict(published) if published else None,
    }


def write_result(path: str | Path, record: dict) -> None:
    """Write the record as JSON, whole or not at all."""
    write_atomically(Path(path), lambda partial: partial.write_text(json.dumps(record, indent=1) + "\n"))


def commit() -> str | None:
    """Return the helpers' commit, with "+changes" when files differ from it; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
