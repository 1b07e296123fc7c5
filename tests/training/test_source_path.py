"""A run knows where its folder of images is, whatever the working directory."""

import json
from dataclasses import replace

from PIL import Image

import codial
from codial.config import to_dict
from codial.data.registry import load_images


def test_a_run_stores_the_absolute_path_of_a_folder(tiny, tmp_path, monkeypatch):
    for number in range(8):
        (tmp_path / "plain").mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (30 * number, 90, 90)).save(tmp_path / "plain" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    data = replace(tiny.data, source="plain", split="all", size=40, limit=None)
    config = replace(tiny, data=data, train=replace(tiny.train, epochs=1, batch=4))
    run = codial.pretrain(config, tmp_path / "run", progress=False)
    assert run.config.data.source == str(tmp_path / "plain")
    assert codial.pretrain(config, tmp_path / "run", progress=False).finished
    monkeypatch.chdir("/")
    assert len(load_images(codial.open_run(tmp_path / "run").config.data.source, "all", size=8)) == 8


def test_a_run_of_an_older_version_with_a_relative_path_is_resumed(tiny, few, tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path)
    config = replace(tiny, data=replace(tiny.data, source="plain"))
    run = codial.pretrain(config, tmp_path / "run", images=few, progress=False)
    (run.folder / "config.json").write_text(json.dumps(to_dict(config)))
    assert codial.pretrain(config, tmp_path / "run", images=few, progress=False).finished
