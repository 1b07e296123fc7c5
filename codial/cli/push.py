"""The command `codial push`."""

from typing import Annotated

import typer

from codial.cli.export import Layers, License, Precision
from codial.cli.options import Run
from codial.runs.hub import HUB, require_repo
from codial.runs.summary import require_run

EXAMPLES = """\
  codial push runs/cifar10/codial me/codial-cifar10
  codial push runs/mine me/birds --layers all --precision full --private
  codial push results/weights/codial-cifar10 me/codial-cifar10"""


def push(
    run: Run,
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="Model on the hub, created if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Create a model that only you can see.")] = False,
    layers: Layers = None,
    precision: Precision = None,
    license: License = None,
) -> None:
    """Upload the backbone of a finished run to the Hugging Face Hub.

    The run is exported (see `codial export --help`) and uploaded with a model card; an exported folder is uploaded as
    it is. Its config names the folder or data set of the training images. `codial.load_backbone("hf:USER/NAME")` opens
    the model anywhere.

    Needs pip install 'codial[hf]', and a token: log in by the command hf auth login, or set HF_TOKEN.
    """
    require_repo(repo)
    require_run(run)
    from codial.runs.push import push

    given = {"layers": layers, "precision": precision, "license": license}
    url = push(run, repo, private=private, **{name: value for name, value in given.items() if value is not None})
    print(f'{url}: open it by codial.load_backbone("{HUB}{repo}")')
