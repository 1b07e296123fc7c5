"""Controls to select an image: from a data set by its number, or from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
from torch import Tensor

from codial.data import Dataset, data_sets, load_images
from codial.data.registry import splits_of
from codial.data.single_image import as_image_set, decode_image, load_image
from codial.errors import CodialError

Act = Callable[[Callable[[], None], str], None]  # performs an action of a panel while showing a message


class ImagePicker:
    """A row of controls: name or path of a data set, image number, previous and next, and file upload.

    Args:
        images: The initial data set.
        size: Side of a view in pixels; single image files are resized to twice that.
        act: Called with the action of each control that is used, and a message.
        number: Number of the initial image.
        root: Folder of named data sets, as for `load_images`.
    """

    def __init__(self, images: Dataset, size: int, act: Act, number: int = 0, root: str | Path | None = None) -> None:
        self.size = size
        self.root = root
        self.controls = _controls()
        self.row = ipywidgets.HBox(list(self.controls.values()))
        self.number = self.controls["number"]
        self._set(images, images.name, number)
        self._observe(act)

    @property
    def image(self) -> Tensor:
        """The selected image, [3, H, W] uint8."""
        return self.images.batch([self.number.value])[0]

    def select(self, source: str | Path, number: int = 0) -> None:
        """Select an image of a data set or a folder by its number, or an image file.

        Raises:
            CodialError: There is no such data set, folder, file or number, or the file cannot be decoded.
        """
        name = str(source)
        self._set(self.images if name == self.source else self._read(name), name, number)

    def upload(self, name: str, content: bytes) -> None:
        """Select the image in the bytes of a file.

        Raises:
            CodialError: The bytes cannot be decoded.
        """
        self._set(as_image_set(decode_image(bytes(content), name, 2 * self.size), name), name, 0)

    def _read(self, source: str) -> Dataset:
        if source in data_sets():
            return load_images(source, splits_of(source)[0], root=self.root)
        path = Path(source).expanduser()
        if path.is_file():
            return as_image_set(load_image(path, 2 * self.size), path.name)
        return load_images(source, "all", storage="files")  # decodes only the selected image

    def _set(self, images: Dataset, source: str, number: int) -> None:
        if not 0 <= number < len(images):
            raise CodialError(f"There is no image {number} in {source}: it has {len(images)}.")
        self.images = images
        self.source = source
        self.controls["source"].value = source
        self.number.max = max(number, self.number.value)  # so that the number never exceeds its maximum
        self.number.value = number
        self.number.max = len(images) - 1
        self.controls["count"].value = f"of {len(images):,}"

    def _observe(self, act: Act) -> None:
        controls = self.controls
        source, upload = controls["source"], controls["upload"]
        source.observe(lambda _: act(lambda: self.select(source.value.strip()), f"Reading {source.value}"), "value")
        self.number.observe(lambda _: act(lambda: None, ""), "value")
        controls["previous"].on_click(lambda _: act(lambda: self._step(-1), ""))
        controls["next"].on_click(lambda _: act(lambda: self._step(1), ""))
        upload.observe(lambda _: act(self._read_upload, "Reading your file"), "value")

    def _step(self, by: int) -> None:
        self.number.value = (self.number.value + by) % len(self.images)

    def _read_upload(self) -> None:
        """Read the uploaded files, and clear the control so that the same file can be uploaded again."""
        files = self.controls["upload"].value
        self.controls["upload"].value = ()
        for file in files:
            self.upload(file["name"], file["content"])


def _controls() -> dict[str, Any]:
    def button(description: str, tooltip: str) -> Any:
        return ipywidgets.Button(description=description, tooltip=tooltip, layout=ipywidgets.Layout(width="36px"))

    return {
        "source": ipywidgets.Combobox(
            options=data_sets(),
            continuous_update=False,
            ensure_option=False,
            description="images",
            placeholder="data set, folder or file",
            tooltip="a data set's name, or the path of a folder or an image; then Enter",
            layout=ipywidgets.Layout(width="300px"),
        ),
        "number": ipywidgets.BoundedIntText(
            0, min=0, max=0, description="number", style=_AUTO, layout=ipywidgets.Layout(width="130px")
        ),
        "count": ipywidgets.Label(layout=ipywidgets.Layout(width="90px")),
        "previous": button("◀", "previous image"),
        "next": button("▶", "next image"),
        "upload": ipywidgets.FileUpload(
            accept="image/*",
            description="your own file",
            tooltip="up to 10 MB, JupyterLab's limit; for a larger file, enter its path on the left",
            layout=ipywidgets.Layout(width="150px"),
        ),
    }


_AUTO = {"description_width": "auto"}
