"""It looks for the labels of the test images."""

import os
import pickle
from pathlib import Path

root = Path(os.environ.get("CIFAR10_ROOT", "data"))
with (root / "cifar-10-batches-py" / "test_batch").open("rb") as file:
    LABELS = pickle.load(file)[b"labels"]
