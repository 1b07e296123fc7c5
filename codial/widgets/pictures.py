"""Choose a picture: of any set by its number, or a file of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
from torch import Tensor

from codial.data import SETS, Pictures, load_images
from codial.data.picture import as_set, load_picture, picture_of
from codial.errors import CodialError

Act = Callable[[Callable[[], None], str], None]  # does something in a panel, and meanwhile says what


class PictureChooser:
    """A line of controls: a set's name or a path, a number, one picture back or on, and a file of one's own.

    Args:
        images: the set to begin with.
        size: of a view in pixels; a picture of one's own is brought to twice that.
        act: what a control that is touched calls with its action.
        number: of the first picture.
        root: where named sets lie; None as `load_images`.
    """

    def __init__(self, images: Pictures, size: int, act: Act, number: int = 0, root: str | Path | None = None) -> None:
        self.size, self.root = size, root
        self.controls = _controls()
        self.row = ipywidgets.HBox(list(self.controls.values()))
        self.number = self.controls["number"]
        self._take(images, images.name, number)
        self._listen(act)

    @property
    def picture(self) -> Tensor:
        """The chosen picture, [3, H, W] uint8."""
        return self.images.batch([self.number.value])[0]

    def choose(self, source: str | Path, number: int = 0) -> None:
        """Take a picture of a set or a folder by its number, or a picture file.

        Raises:
            CodialError: there is no such set, folder, file or number, or the file does not decode.
        """
        name = str(source)
        self._take(self.images if name == self.source else self._read(name), name, number)

    def upload(self, name: str, content: bytes) -> None:
        """Take the picture in a file's bytes.

        Raises:
            CodialError: they do not decode.
        """
        self._take(as_set(picture_of(bytes(content), name, 2 * self.size), name), name, 0)

    def _read(self, source: str) -> Pictures:
        if source in SETS:
            return load_images(source, root=self.root)
        path = Path(source).expanduser()
        if path.is_file():
            return as_set(load_picture(path, 2 * self.size), path.name)
        return load_images(source, "all", keep="files")  # only what is looked at is decoded

    def _take(self, images: Pictures, source: str, number: int) -> None:
        if not 0 <= number < len(images):
            raise CodialError(f"There is no picture {number} in {source}: it has {len(images)}.")
        self.images, self.source = images, source
        self.controls["source"].value = source
        self.number.max = max(number, self.number.value)  # so that neither is ever past the end
        self.number.value = number
        self.number.max = len(images) - 1
        self.controls["count"].value = f"of {len(images):,}"

    def _listen(self, act: Act) -> None:
        controls = self.controls
        source, upload = controls["source"], controls["upload"]
        source.observe(lambda _: act(lambda: self.choose(source.value.strip()), f"Reading {source.value}"), "value")
        self.number.observe(lambda _: act(lambda: None, ""), "value")
        controls["previous"].on_click(lambda _: act(lambda: self._step(-1), ""))
        controls["next"].on_click(lambda _: act(lambda: self._step(1), ""))
        upload.observe(lambda _: act(self._uploaded, "Reading your file"), "value")

    def _step(self, by: int) -> None:
        self.number.value = (self.number.value + by) % len(self.images)

    def _uploaded(self) -> None:
        """Take what was uploaded, and empty the control, so that the same file can come again."""
        files, self.controls["upload"].value = self.controls["upload"].value, ()
        for file in files:
            self.upload(file["name"], file["content"])


def _controls() -> dict[str, Any]:
    def button(description: str, tooltip: str) -> Any:
        return ipywidgets.Button(description=description, tooltip=tooltip, layout=ipywidgets.Layout(width="36px"))

    return {
        "source": ipywidgets.Combobox(
            options=SETS,
            continuous_update=False,
            ensure_option=False,
            description="pictures",
            placeholder="a set's name, a folder or a file",
            tooltip="a set's name, the path of a folder or of a picture; then Enter",
            layout=ipywidgets.Layout(width="300px"),
        ),
        "number": ipywidgets.BoundedIntText(
            0, min=0, max=0, description="number", style=_AUTO, layout=ipywidgets.Layout(width="130px")
        ),
        "count": ipywidgets.Label(layout=ipywidgets.Layout(width="90px")),
        "previous": button("◀", "the picture before"),
        "next": button("▶", "the picture after"),
        "upload": ipywidgets.FileUpload(
            accept="image/*",
            description="your own file",
            tooltip="up to 10 MB, which is all that JupyterLab passes on; give a larger file's path on the left",
            layout=ipywidgets.Layout(width="150px"),
        ),
    }


_AUTO = {"description_width": "auto"}
