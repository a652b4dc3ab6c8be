"""The command line, `workbook …`; each command imports what it needs, so that help comes at once."""

import argparse
import sys

from helpers.errors import BadInput, Interrupted

DATA = "auto, cifar10, synthetic, or the folder of cifar-10-batches-py"


def run(args: argparse.Namespace) -> None:
    """Execute the notebooks into runs/."""
    from helpers import workbook

    workbook.run(args.profile, args.only, args.set, args.data, args.out)


def verify(args: argparse.Namespace) -> int:
    """Run the notebooks twice, quickly, and compare the second run's outputs with the first's."""
    from helpers import workbook

    return workbook.verify()


def render(args: argparse.Namespace) -> None:
    """Bring a full run's outputs, figures and results into the repository."""
    from helpers import publish

    publish.render(args.run)


def links(args: argparse.Namespace) -> None:
    """Write the repository's address and version into badges, links and Colab's cell."""
    from helpers import publish

    publish.links(args.repository)


def readme(args: argparse.Namespace) -> None:
    """Write the README's table of results from notebooks/results/."""
    from helpers import publish

    publish.readme()


def check(args: argparse.Namespace) -> int:
    """Check a network against the challenge's constraints; the status is 1 when one of them is not met."""
    from helpers import assignment, recipes

    model = assignment.load_network(args.network)
    recipe = recipes.recipe_named(args.recipe) if args.recipe else recipes.RECIPES.get(args.network)
    if args.augmentation:
        recipe = assignment.load_pipeline(args.augmentation)
    table = assignment.check(model, recipe, args.accuracy)
    print(assignment.told(table))
    return 0 if table.passed.all() else 1


def train(args: argparse.Namespace) -> None:
    """Train a network by its recipe, or go on where it stopped, and measure it on the test set."""
    from helpers import commands

    options = {name: value for name, value in vars(args).items() if name not in ("command", "recipe")}
    commands.train(args.recipe, **options)


def evaluate(args: argparse.Namespace) -> None:
    """Measure a finished run on the test set, class by class."""
    from helpers import commands

    commands.evaluate(args.run_dir, args.data)


def predict(args: argparse.Namespace) -> None:
    """Say what a finished run sees in image files."""
    from helpers import commands

    commands.predict_files(args.run_dir, args.image)


def bench(args: argparse.Namespace) -> None:
    """Time this workbook's loop against the plain one, in turns, on this machine."""
    from helpers import bench as benchmark
    from helpers.models import MODELS

    benchmark.bench(args.network or list(MODELS), args.repeats, args.steps, args.batch_size, args.out)


def parser() -> argparse.ArgumentParser:
    """Return the parser; a command's help is its function's docstring."""
    top = argparse.ArgumentParser("workbook", description="Run, check and publish the workbook's notebooks.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(function) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        added.set_defaults(command=function)
        return added

    run_parser = command(run)
    run_parser.add_argument("--profile", default="quick", help="parameter values: quick (default) or full")
    run_parser.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="number or name, such as 05")
    run_parser.add_argument("--set", nargs="+", default=[], metavar="CHANGE", help="such as 05.EPOCHS=3")
    run_parser.add_argument("--data", help=DATA)
    run_parser.add_argument("--out", help="a new folder instead of runs/<time>-<profile>, or an earlier run's to go on")
    command(verify)
    command(render).add_argument("run", nargs="?", help="the run's folder; without it the newest full run")
    command(links).add_argument("repository", nargs="?", metavar="OWNER/REPO", help="the new address on GitHub")
    command(readme)
    check_parser = command(check)
    check_parser.add_argument("network", metavar="MODULE:FACTORY", help="such as my_network.py:Net, or dilated_193k")
    check_parser.add_argument("--recipe", help="the recipe whose augmentation is checked, by name")
    check_parser.add_argument("--augmentation", metavar="MODULE:NAME", help="an albumentations Compose of your own")
    check_parser.add_argument("--accuracy", type=float, help="test accuracy in percent")
    train_parser = command(train)
    train_parser.add_argument("recipe", help="its name, such as mobilenet_c40")
    train_parser.add_argument("--seed", type=int, default=0, help="decides first weights, order, augmentation, dropout")
    train_parser.add_argument("--run-dir", metavar="D", help="folder of the run, instead of runs/<recipe>-seed<seed>")
    train_parser.add_argument("--epochs", type=int, help="instead of the recipe's own")
    train_parser.add_argument("--holdout", type=int, default=0, help="training images left out to watch the run by")
    train_parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    train_parser.add_argument("--anew", action="store_true", help="start again in a folder that has been used")
    train_parser.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard's files into the folder, too"
    )
    evaluate_parser, predict_parser = command(evaluate), command(predict)
    for added in (evaluate_parser, predict_parser):
        added.add_argument("run_dir", metavar="RUN_DIR", help="the folder of a finished training run")
    predict_parser.add_argument("image", nargs="+", metavar="IMAGE", help="a JPEG or PNG file of any size")
    for added in (train_parser, evaluate_parser):
        added.add_argument("--data", default="auto", help=DATA)
    bench_parser = command(bench)
    bench_parser.add_argument("network", nargs="*", help="names; without any, all")
    bench_parser.add_argument("--repeats", type=int, default=3, help="measurements of each loop (3)")
    bench_parser.add_argument("--steps", type=int, default=4, help="steps of each measurement (4)")
    bench_parser.add_argument("--batch-size", type=int, help="of both loops, instead of the recipe's own")
    bench_parser.add_argument("--out", metavar="FILE", help="JSON file instead of runs/bench-<time>.json")
    return top


def main() -> int:
    """Run a command; return 0, 2 after a sentence on bad input, or 130 after Ctrl-C and 143 after SIGTERM."""
    args = parser().parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # a log shows each line when it is printed, as a terminal does
    try:
        return args.command(args) or 0
    except BadInput as error:
        print(f"workbook: {error}", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(f"\nworkbook: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print(
            "\nworkbook: interrupted; what was not finished counts for nothing, run it again.",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
