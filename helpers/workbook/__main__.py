"""The command line, `workbook …`; a command imports its room when it is called, so that help comes at once."""

import os
import sys
from contextlib import suppress

import click

from helpers.errors import BadInput, Interrupted

DATA = "auto, cifar10, synthetic, or the folder of cifar-10-batches-py"


class Workbook(click.Group):
    """The group of all commands; the exit status is 2 after bad input, 130 after Ctrl-C, 143 after SIGTERM."""

    def main(self, *args, **kwargs) -> object:
        """Run a command line; what the system refuses is one sentence, and a closed pipe ends quietly."""
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed from the start
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
            # For an output in ASCII, and names in no UTF-8. A log shows each line when it is printed, as terminals do.
            getattr(sys, name).reconfigure(errors="backslashreplace", line_buffering=True)
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                sys.stdout.flush()  # or what it refuses would be told when Python ends
        except BrokenPipeError:
            message = ""
        except (OSError, UnicodeError) as error:
            message = (
                f"workbook: the system refuses ({error}): mend that and run again; what was saved before is sound."
            )
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        with suppress(OSError):
            click.echo(message, err=True, nl=bool(message))
        sys.exit(2 if message else 1)

    def invoke(self, context: click.Context) -> None:
        try:
            context.exit(super().invoke(context) or 0)
        except BadInput as error:
            status, message = 2, f"workbook: {error}"
        except Interrupted as stopped:
            status, message = 128 + stopped.signum, f"\nworkbook: {stopped}"
        except KeyboardInterrupt:
            status, message = 130, "\nworkbook: interrupted; what was not finished counts for nothing, run it again."
        click.echo(message, err=True)
        context.exit(status)


class Spread(click.Command):
    """A command whose repeatable options take several values at once: `--only 04 05` is `--only 04 --only 05`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        repeatable = {name for option in self.params if option.multiple for name in option.opts}
        words, option = [], None
        for word in args:
            if word.startswith("-"):
                option = word if word in repeatable else None
            elif option and words[-1] != option:
                words.append(option)
            words.append(word)
        return super().parse_args(context, words)


@click.group(cls=Workbook, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Run, check and publish the workbook's notebooks."""
    # Threads that spin while they wait make two processes on the same cores several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if os.environ.get("RANK", "0") != "0":  # one of several processes that torchrun started: the first speaks for all
        os.environ["TQDM_DISABLE"] = "1"
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


@main.command(cls=Spread)
@click.option("--profile", default="quick", help="parameter values: quick, class or full")
@click.option("--only", multiple=True, metavar="NOTEBOOK...", help="number or name, such as 05")
@click.option("--set", "changes", multiple=True, metavar="CHANGE...", help="such as 05.EPOCHS=3")
@click.option("--data", help=DATA)
@click.option("--out", help="a new folder instead of runs/<time>-<profile>, or an earlier run's to go on")
def run(**options) -> None:
    """Execute the notebooks into runs/."""
    from helpers.workbook import running

    running.run(**options)


@main.command()
def verify() -> int:
    """Run the notebooks twice, quickly, and compare the outputs."""
    from helpers.workbook import running

    return running.verify()


@main.command()
@click.argument("run", required=False)
def render(run: str | None) -> None:
    """Take outputs and results from RUN, or from the newest full run."""
    from helpers.workbook import publish

    publish.render(run)


@main.command()
@click.argument("run_dir")
def release(run_dir: str) -> None:
    """Take the finished run in RUN_DIR into notebooks/results/."""
    from helpers.workbook import publish

    publish.release(run_dir)


@main.command()
def readme() -> None:
    """Write the README's table of results from notebooks/results/."""
    from helpers.workbook import publish

    publish.readme()


@main.command()
@click.argument("name", metavar="student|teacher")
@click.option("--out", required=True, metavar="FOLDER", help="a new or empty folder, or one that holds this edition")
def edition(**options) -> None:
    """Write the notebooks for students or for a teacher.

    The student's have no outputs. The teacher's keep theirs, and below each exercise a folded cell has its solution,
    which was tried. What was changed in a folder that holds the edition already is replaced.
    """
    from helpers.workbook import editions

    editions.edition(**options)


@main.command()
@click.argument("network", metavar="MODULE:FACTORY")
@click.option("--recipe", help="the recipe whose augmentation is checked, by name")
@click.option("--augmentation", metavar="MODULE:NAME", help="an albumentations Compose of your own")
@click.option("--accuracy", type=float, help="test accuracy in percent")
def check(**options) -> int:
    """Check a network against the challenge's constraints.

    MODULE:FACTORY is such as my_network.py:Net, or a name such as dilated_193k; the status is 1 when one is not met.
    """
    from helpers.workbook import guarded

    return guarded.check(**options)


@main.command()
@click.argument("folder")
@click.option("--images", default=10_000, help="test images to compute accuracies on; 0 for no accuracies")
@click.option("--data", default="cifar10", help=DATA)
@click.option("--jobs", type=click.IntRange(1), help="students at once, instead of one for each core")
@click.option("--seconds", type=click.FloatRange(1), default=60, help="for each of a student's files")
@click.option("--out", default="runs/grades", help="folder of grades.csv and grades.json")
def grade(**options) -> None:
    """Check and measure what a class hands in.

    Each .py file and each folder in FOLDER is a student. The file, or the folder's my_network.py, defines factory (or
    Net, network) and my_augmentation (or pipeline). Beside it may lie model.safetensors, for the accuracy, record.json
    of its training, and notebooks, for their exercises.
    """
    from helpers.workbook import grading

    grading.grade(**options)


@main.command()
@click.argument("folder")
@click.option("--out", help="a CSV file to write, too")
def board(**options) -> None:
    """Rank the grades and results in FOLDER, and the workbook's own.

    By accuracy, then parameters, then minutes. FOLDER holds grades.json, and result files of trainings.
    """
    from helpers.workbook import board as ranking

    ranking.board(**options)


@main.command()
@click.argument("name", metavar="RECIPE")
@click.option("--seed", default=0, help="decides first weights, order, augmentation, dropout")
@click.option("--run-dir", help="folder of the run, instead of runs/<recipe>-seed<seed>")
@click.option("--epochs", type=int, help="instead of the recipe's own")
@click.option("--holdout", default=0, help="training images left out and measured on; the test set stays closed")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps")
@click.option("--precision", default="auto", help="auto (half where that is faster), float32 or bfloat16")
@click.option("--anew", is_flag=True, help="start again in a folder that has been used")
@click.option("--tensorboard", is_flag=True, help="write TensorBoard's files into the folder, too")
@click.option("--data", default="auto", help=DATA)
def train(**options) -> None:
    """Train a network by its recipe, or go on where it stopped.

    RECIPE is its name, such as mobilenet_c40. After the last epoch the network is measured on the hold-out, or without
    one on the test set. On N devices: torchrun --standalone --nproc-per-node N -m helpers.workbook train RECIPE.
    """
    from helpers.engines.ranks import joined
    from helpers.workbook import trainings

    with joined():
        trainings.train(**options)


@main.command(cls=Spread)
@click.argument("names", metavar="RECIPE...", nargs=-1, required=True)
@click.option("--seeds", default=1, help="seeds of each, from 0 on")
@click.option("--set", "changes", multiple=True, metavar="CHANGE...", help="such as epochs=10, or peak_lr=0.05,0.1")
@click.option("--jobs", type=int, help="processes, instead of one for each core or accelerator")
@click.option("--holdout", default=0, help="training images left out and measured on; the test set stays closed")
@click.option("--data", default="auto", help=DATA)
@click.option("--out", default="runs/sweep", help="folder of the run directories")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps")
@click.option("--precision", default="auto", help="auto (half where that is faster), float32 or bfloat16")
@click.option("--dask", metavar="ADDRESS", help="of a Dask scheduler, whose workers train instead")
def sweep(**options) -> int:
    """Train recipes with changes and seeds, many at once.

    Each training is a run directory OUT/<name>-seed<seed>; what is done is not done again, and what was stopped goes
    on. The status is 1 when one failed.
    """
    from helpers.workbook import sweeping

    return sweeping.sweep(**options)


@main.command()
@click.argument("run_dir", metavar="RUN_DIR|NETWORK")
@click.option("--data", default="auto", help=DATA)
def evaluate(**options) -> None:
    """Measure the finished run in RUN_DIR, or NETWORK as released."""
    from helpers.workbook import trainings

    trainings.evaluate(**options)


@main.command()
@click.argument("run_dir", metavar="RUN_DIR|NETWORK")
@click.argument("paths", metavar="IMAGE...", nargs=-1, required=True)
def predict(run_dir: str, paths: tuple[str, ...]) -> int:
    """Say what a finished run, or NETWORK as released, sees in pictures.

    Each IMAGE is a PNG, JPEG, WebP, GIF, BMP or TIFF file; its middle square is fit to 32x32 pixels. Its row has the
    three likeliest classes with their probabilities (calibrated where NETWORK is released), or says why there are none;
    then the status is 1 at the end. Where no class reaches 60 %, the row says so: of CIFAR-10's test images below that
    the released networks get about half wrong. A network knows ten classes only, and may be sure of one for anything.
    """
    from helpers.workbook import predicting

    return predicting.predict_files(run_dir, list(paths))


@main.command()
@click.argument("run_dir", metavar="RUN_DIR|NETWORK")
@click.option("--out", required=True, metavar="FILE.onnx", help="file to write, whole or not at all")
def export(**options) -> None:
    """Write a finished run, or NETWORK as released, as an ONNX file.

    Its input `pixels` is (N, 3, 32, 32) float32 for any N: values in [0, 1], red first, normalised within the file. Its
    output is `logits`, (N, 10). The file's metadata says so, too, and names the classes.
    """
    from helpers.workbook import exporting

    exporting.export(**options)


@main.command()
@click.argument("networks", metavar="[NETWORK]...", nargs=-1)
@click.option("--repeats", default=3, help="measurements of each loop")
@click.option("--steps", default=4, help="steps of each measurement")
@click.option("--batch-size", type=int, help="of both loops, instead of the recipe's own")
@click.option("--out", help="JSON file instead of runs/bench-<time>.json")
def bench(networks: tuple[str, ...], **options) -> None:
    """Time this loop against the plain one, for the networks or all."""
    from helpers.workbook import bench as timing

    timing.bench(list(networks), **options)


if __name__ == "__main__":
    main(prog_name="workbook")
