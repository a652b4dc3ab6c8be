"""What `workbook predict` does: what a network sees in picture files, a row for each."""

import numpy as np

from helpers.errors import BadInput
from helpers.pictures import DOUBTFUL, load_picture, printable


def predict_files(run_dir: str, paths: list[str]) -> int:
    """Print the three likeliest classes of each picture, or why there are none; return 1 when one was no picture.

    `run_dir` is a finished run's folder or the name of a released network. Raises BadInput when it cannot be loaded.
    """
    pictures = [_picture(path) for path in paths]  # first, so that a large one never lies in memory beside torch
    from helpers.evaluation import predict
    from helpers.models import load_trained

    model, trained = load_trained(run_dir)
    scale, heat = {name: trained["config"][name] for name in ("mean", "std")}, trained.get("temperature", 1.0)
    for path, picture in zip(paths, pictures, strict=True):
        if isinstance(picture, BadInput):
            print(picture)
        else:
            chances = (predict(model, picture[None], **scale)[0] / heat).softmax(0).tolist()
            print(f"{printable(path)}: {_told(dict(zip(trained['classes'], chances, strict=True)))}")
    return int(any(isinstance(picture, BadInput) for picture in pictures))


def _picture(path: str) -> np.ndarray | BadInput:
    try:
        return load_picture(path)
    except BadInput as error:
        return error


def _told(probabilities: dict[str, float]) -> str:
    """Return the three largest of the probabilities (0 to 1) by class, and a doubt where there is one."""
    best = sorted(probabilities, key=probabilities.get, reverse=True)[:3]
    told = ", ".join(f"{name} {100 * probabilities[name]:.1f} %" for name in best)
    if probabilities[best[0]] >= DOUBTFUL:
        return told
    return f"{told}; no class reaches {100 * DOUBTFUL:.0f} %: a guess, and maybe none of the {len(probabilities)}"
