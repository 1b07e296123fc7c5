"""Uploading a run's backbone to the Hugging Face Hub."""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from codial.errors import CodialError
from codial.runs.export import export, is_export
from codial.runs.hub import HUB, require_login, require_repo, upload
from codial.runs.run import open_run
from codial.runs.summary import require_run


def push(folder: str | Path, repo: str, *, private: bool = False, **options: str) -> str:
    """Export a run and upload the export; an exported folder is uploaded as it is.

    In the model card, the path of the folder becomes the model's name.

    Args:
        folder: a finished run, or an export.
        repo: USER/NAME; the model is created if it does not exist.
        private: create it as a private model.
        options: layers, precision and license, as for `export`; for runs only.

    Returns:
        The model's address.

    Raises:
        CodialError: the run cannot be exported, an export is given with options, huggingface_hub is not installed, or
            there is no token, network or permission.
    """
    require_repo(repo)
    folder = require_run(folder).parent
    exported = is_export(folder)
    if exported and options:
        raise CodialError(f"{folder} is an export and is uploaded as it is; {', '.join(options)} are for runs.")
    require_login()
    with TemporaryDirectory() as temporary:
        copy = Path(temporary, repo.split("/")[1])
        if exported:
            shutil.copytree(folder, copy)
        else:
            export(open_run(folder), temporary, copy.name, program=False, **options)
        card = copy / "README.md"
        if card.exists():
            card.write_text(re.sub(r'load_backbone\(".*?"\)', f'load_backbone("{HUB}{repo}")', card.read_text()))
        return upload(copy, repo, private)
