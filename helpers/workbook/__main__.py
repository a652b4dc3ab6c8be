"""The command line, `workbook …`; a command's module is imported when it is called, so that help comes at once."""

import argparse
import sys
from importlib import import_module

from helpers.errors import BadInput, Interrupted

DATA = "auto, cifar10, synthetic, or the folder of cifar-10-batches-py"


def check(network: str, recipe: str | None, augmentation: str | None, accuracy: float | None) -> int:
    """Print how a network stands to the challenge's constraints; return 1 when one of them is not met."""
    from helpers import assignment, recipes
    from helpers.workbook import students

    model = students.load_network(network)
    judged = recipes.recipe_named(recipe) if recipe else recipes.RECIPES.get(network)
    if augmentation:
        judged = students.load_pipeline(augmentation)
    table = assignment.check(model, judged, accuracy)
    print(students.told(table))
    return 0 if table.passed.all() else 1


def bench(networks: list[str], **options) -> None:
    """Time the networks of these names, or all."""
    from helpers.models import MODELS
    from helpers.workbook import bench as benchmark

    benchmark.bench(networks or list(MODELS), **options)


def parser() -> argparse.ArgumentParser:
    """Return the parser; what it leaves are the arguments, by name, of the function that a command calls."""
    top = argparse.ArgumentParser("workbook", description="Run, check and publish the workbook's notebooks.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: str, does: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=does, description=does)
        added.set_defaults(function=function)
        return added

    run = command("run", "running.run", "Execute the notebooks into runs/.")
    run.add_argument("--profile", default="quick", help="parameter values: quick (default) or full")
    run.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="number or name, such as 05")
    run.add_argument("--set", nargs="+", default=[], metavar="CHANGE", dest="changes", help="such as 05.EPOCHS=3")
    run.add_argument("--data", help=DATA)
    run.add_argument("--out", help="a new folder instead of runs/<time>-<profile>, or an earlier run's to go on")
    command("verify", "running.verify", "Run the notebooks twice, quickly, and compare the second run's outputs.")
    render = command("render", "publish.render", "Bring a full run's outputs, figures and results into the repository.")
    render.add_argument("run", nargs="?", help="the run's folder; without it the newest full run")
    links = command("links", "publish.links", "Write the repository's address and version wherever they are linked.")
    links.add_argument("repository", nargs="?", metavar="OWNER/REPO", help="the new address on GitHub")
    command("readme", "publish.readme", "Write the README's table of results from notebooks/results/.")
    does = "Check a network against the challenge's constraints; the status is 1 when one of them is not met."
    checked = command("check", "__main__.check", does)
    checked.add_argument("network", metavar="MODULE:FACTORY", help="such as my_network.py:Net, or dilated_193k")
    checked.add_argument("--recipe", help="the recipe whose augmentation is checked, by name")
    checked.add_argument("--augmentation", metavar="MODULE:NAME", help="an albumentations Compose of your own")
    checked.add_argument("--accuracy", type=float, help="test accuracy in percent")
    does = "Train a network by its recipe, or go on where it stopped, and measure it on the test set."
    train = command("train", "trainings.train", does)
    train.add_argument("name", metavar="RECIPE", help="its name, such as mobilenet_c40")
    train.add_argument("--seed", type=int, default=0, help="decides first weights, order, augmentation, dropout")
    train.add_argument("--run-dir", metavar="D", help="folder of the run, instead of runs/<recipe>-seed<seed>")
    train.add_argument("--epochs", type=int, help="instead of the recipe's own")
    train.add_argument("--holdout", type=int, default=0, help="training images left out to watch the run by")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    train.add_argument("--anew", action="store_true", help="start again in a folder that has been used")
    train.add_argument("--tensorboard", action="store_true", help="write TensorBoard's files into the folder, too")
    evaluate = command("evaluate", "trainings.evaluate", "Measure a finished run on the test set, class by class.")
    predict = command("predict", "trainings.predict_files", "Say what a finished run sees in image files.")
    for added in (evaluate, predict):
        added.add_argument("run_dir", metavar="RUN_DIR", help="the folder of a finished training run")
    predict.add_argument("paths", nargs="+", metavar="IMAGE", help="a JPEG or PNG file of any size")
    for added in (train, evaluate):
        added.add_argument("--data", default="auto", help=DATA)
    does = "Time this workbook's loop against the plain one, in turns, on this machine."
    timed = command("bench", "__main__.bench", does)
    timed.add_argument("networks", nargs="*", metavar="network", help="names; without any, all")
    timed.add_argument("--repeats", type=int, default=3, help="measurements of each loop (3)")
    timed.add_argument("--steps", type=int, default=4, help="steps of each measurement (4)")
    timed.add_argument("--batch-size", type=int, help="of both loops, instead of the recipe's own")
    timed.add_argument("--out", metavar="FILE", help="JSON file instead of runs/bench-<time>.json")
    return top


def main() -> int:
    """Run a command; return its status, 2 after a sentence on bad input, or 130 after Ctrl-C and 143 after SIGTERM."""
    arguments = vars(parser().parse_args())
    module, function = arguments.pop("function").split(".")
    sys.stdout.reconfigure(line_buffering=True)  # a log shows each line when it is printed, as a terminal does
    try:
        status = getattr(import_module(f"helpers.workbook.{module}"), function)(**arguments)
        return status if isinstance(status, int) else 0
    except BadInput as error:
        print(f"workbook: {error}", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(f"\nworkbook: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print("\nworkbook: interrupted; what was not finished counts for nothing, run it again.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
