"""What is asked of a student's my_network.py and what lies beside it, each question in a process of its own."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from helpers import assignment
from helpers.data import CIFAR10_MEAN, CIFAR10_STD
from helpers.engines.judging import is_a, probabilities
from helpers.errors import BadInput
from helpers.evaluation import predict
from helpers.exercises.cells import standing
from helpers.models.weights import load_foreign
from helpers.results import read_result
from helpers.summary import fingerprint
from helpers.workbook import students

NETWORKS, PIPELINES = ("factory", "Net", "network"), ("my_augmentation", "pipeline", "augmentation")


def constraints() -> dict:
    """Return a row for each constraint, as `check` has them, and the network's fingerprint; raises BadInput."""
    model, problem = students.load_network(_first(NETWORKS)), ""
    try:
        table = assignment.check(model, students.load_pipeline(_first(PIPELINES)))
    except BadInput as refusal:
        table, problem = assignment.check(model), str(refusal)  # if it was the network, the same is raised again
    rows = json.loads(table.to_json(orient="values"))
    if problem:
        rows.append(["augmentation", "a pipeline", "none", False, problem])
    return {"rows": rows, "architecture": fingerprint(model)}


def _first(names: tuple[str, ...]) -> str:
    """Return the first of the names that the student's file has."""
    students.load_object("my_network:__name__")
    for name in names:
        if hasattr(sys.modules["my_network"], name):
            return f"my_network:{name}"
    raise BadInput(f"It defines none of {', '.join(names)}.")


def classes(weights: str, images: str) -> dict:
    """Return the class, 0 to 9, that the network with these weights sees in each image, and the network's fingerprint.

    `images` is a file of uint8 (N, 32, 32, 3). They are normalised as the weights' header says, or the pipeline.
    """
    model = students.load_network(_first(NETWORKS))
    normalisation, source = load_foreign(weights, model), "the weights' header"
    if not normalisation:
        normalisation, source = {"mean": CIFAR10_MEAN, "std": CIFAR10_STD}, "CIFAR-10's own"
        with suppress(BadInput):
            for part, _ in probabilities(students.load_pipeline(_first(PIPELINES))):
                if is_a(part, "Normalize"):
                    normalisation, source = (
                        {"mean": tuple(part.mean), "std": tuple(part.std)},
                        "the pipeline's Normalize",
                    )
    logits = predict(model, np.load(images), **normalisation)
    return {"classes": logits.argmax(1).tolist(), "normalised": source, "architecture": fingerprint(model)}


def record(seen: int, source: str) -> dict:
    """Return the minutes in record.json, and the accuracy that it claims of as many images of this source, if any."""
    told = read_result(Path("record.json"))
    same = told["final"]["seen"] == seen and told.get("data_source") == source
    return {"minutes": told["final"]["train_minutes"], "claim": told["final"].get("test_accuracy") if same else None}


def exercises(notebook: str) -> dict[str, str]:
    """Return how each exercise of a notebook stands; raises BadInput for what is none."""
    try:
        cells = json.loads(Path(notebook).read_text("utf-8"))["cells"]
        return standing(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadInput(f"{notebook} is no notebook ({students.describe(error)}).") from None
