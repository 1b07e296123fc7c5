"""Models on the Hugging Face Hub: downloading and uploading folders (pip install 'codial[hf]')."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codial.errors import CodialError

HUB = "hf:"  # prefix of sources on the hub
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Of an export, what opening it needs; nothing else is downloaded, so nothing that could be unpickled.
_DOWNLOADED = ("config.json", "provenance.json", "probe-*.json", "retrieval-*.json", "checkpoints/last.safetensors")
# What an upload removes if the new export lacks it: reports and programs of older weights.
_REPLACED = ("probe-*.json", "retrieval-*.json", "backbone.pt2")


def require_repo(name: str) -> str:
    """Return the name of a model on the hub.

    Raises:
        CodialError: it is not of the form USER/NAME.
    """
    if not _REPO.fullmatch(name):
        raise CodialError(f"The model on the hub is {name!r}; expected USER/NAME, such as me/codial-birds.")
    return name


def require_hub(purpose: str) -> Any:
    """Return the package huggingface_hub.

    Raises:
        CodialError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise CodialError(f"{purpose} needs huggingface_hub ({error}): pip install 'codial[hf]'.") from error
    return huggingface_hub


def download(repo: str, revision: str | None = None) -> Path:
    """Download an export from the hub, or find it in the cache.

    Args:
        repo: USER/NAME.
        revision: branch, tag or commit; main if None.

    Returns:
        The folder, which belongs to the cache.

    Raises:
        CodialError: huggingface_hub is not installed, there is no such model, or no network and nothing in the cache.
    """
    hub = require_hub(HUB + require_repo(repo))
    with _explained(f"{HUB}{repo} cannot be downloaded"):
        folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(_DOWNLOADED)))
    if not (folder / "config.json").exists() or not (folder / "checkpoints/last.safetensors").exists():
        raise CodialError(f"{HUB}{repo} was not uploaded by `codial push`: it lacks config.json or last.safetensors.")
    return folder


def require_login() -> None:
    """Check that huggingface_hub has a token.

    Raises:
        CodialError: it is not installed, or has none.
    """
    if not require_hub("Uploading").get_token():
        raise CodialError("There is no token of the hub: log in by the command hf auth login, or set HF_TOKEN.")


def upload(folder: Path, repo: str, private: bool = False) -> str:
    """Upload a folder to a model on the hub, which is created if it does not exist.

    Args:
        folder: an export.
        repo: USER/NAME.
        private: create it as a private model; an existing one stays as it is.

    Returns:
        The model's address.

    Raises:
        CodialError: there is no token, no network, or no permission.
    """
    require_login()
    api = require_hub("Uploading").HfApi(library_name="codial")
    with _explained(f"{require_repo(repo)} cannot be uploaded"):
        url = api.create_repo(repo, private=private, exist_ok=True)
        message = "Upload by codial push"
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message, delete_patterns=list(_REPLACED))
    return str(url)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn errors of huggingface_hub, and of the HTTP library below it, into a CodialError of one line."""
    try:
        yield
    except Exception as error:
        raise CodialError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "RevisionNotFoundError" in kinds:
        return "there is no such revision."
    if "RepositoryNotFoundError" in kinds:
        return "there is no such model, or it is private: log in by the command hf auth login."
    if status in (401, 403):
        return "the hub refuses access. Log in by the command hf auth login with a token that may do this."
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "ConnectTimeout"}:
        return "there is no connection to the hub, and no copy in the cache. Check the network, and HF_HUB_OFFLINE."
    return f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
