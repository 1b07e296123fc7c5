"""Location of the project."""

from pathlib import Path


def project_path(path: str | Path) -> Path:
    """Resolve a relative path against the project's root; absolute paths are returned unchanged.

    JupyterLab, papermill and nbval start notebooks in different working directories, but all have to use the same
    runs. The project's root is the checkout that contains this package, or the working directory if the package is
    installed elsewhere.
    """
    checkout = Path(__file__).resolve().parents[2]
    root = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return root / Path(path).expanduser()
