"""Model cards of exported weights: Markdown with the YAML metadata that the Hugging Face Hub reads."""

import json
import re
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from codial.data.catalog import ENTRIES
from codial.models import Backbone, layer_names
from codial.runs.program import PROGRAM
from codial.runs.reports import read_report, reports_folder
from codial.runs.run import Run
from codial.runs.weights import read_weights

UNKNOWN = "unknown"  # the hub's identifier of a license that nobody stated
_SCORES = {"top-1": "accuracy"}  # the hub's types of metrics
_INPUTS = {"lab": "on lightness and colors in two halves, ", "sobel": "on image gradients, "}
_HUB_NAME = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?:[:#].*)?$")  # a data set on the hub, not a folder

_PROGRAM = f"""
Without codial, `torch.export.load("{PROGRAM}").module()(images)` returns all of them in a dict.
"""


def model_card(run: Run, path: str, license: str = UNKNOWN) -> str:
    """Return a model card for an export: how to load it, training data, settings, numbers with protocol, limits.

    Args:
        run: the opened export.
        path: what users give to `codial.load_backbone`.
        license: license of the weights, by the hub's identifier.
    """
    backbone = run.backbone()
    config, origin, images = run.config, run.provenance, run.provenance["images"]
    reports = _reports(run)
    last = backbone.layers[-1]
    return f"""{_front_matter(run, reports, license)}
# {config.name}, seed {config.seed}

Weights of the backbone {config.model.backbone} ({_description(run, backbone)}) of a run of the method \
`{config.method.name}`, for the package codial.

```python
import codial

backbone = codial.load_backbone({json.dumps(path, ensure_ascii=False)})
features = backbone.features(images, layers=["{last}"])["{last}"]
```

`images` are [B, 3, {backbone.size}, {backbone.size}] float32 in [0, 1]; colors are normalized by the backbone. It is \
in evaluation mode and has these layers:

| layer | activations |
|---|---|
{chr(10).join(f"| {layer} | {shape} |" for layer, shape in _shapes(backbone).items())}
{_PROGRAM if (run.folder / PROGRAM).exists() else ""}
## Training

- Images: {images["count"]:,} of {images["name"]}/{images["split"]} (fingerprint {images["fingerprint"]}), \
{run.progress["views"]:,} views, {"with" if config.method.name == "supervised" else "without"} labels.
- Settings: `config.json`, hash {origin["config_hash"]}; codial {origin.get("codial", "of unknown version")}, commit \
{origin["commit"]}; {origin["device"]}.

## Evaluation

{chr(10).join(_numbers(reports)) or "- not measured"}

Numbers are percentages, measured with the complete network in its original precision. Images are given by name, number
and fingerprint; `codial probe` and `codial retrieve` measure them again.

## Limits

One run, of one seed: another seed may give other numbers. They hold for these images and protocols. The features show \
what the training images show, with its biases, and were tried on no other task. {_limits(run, backbone)}Training \
cannot be continued from this folder.
"""


def _front_matter(run: Run, reports: dict[str, dict[str, Any]], license: str) -> str:
    """Return the metadata between lines of dashes; JSON is YAML, too."""
    values: dict[str, Any] = {
        "license": license,
        "library_name": "codial",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["self-supervised-learning", run.config.method.name, run.config.model.backbone.replace(":", "-")],
        "datasets": _dataset(run),
        "metrics": ["accuracy"] if reports else [],
        "model-index": _model_index(run, reports),
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value]
    return "\n".join(["---", *lines, "---", ""])


def _dataset(run: Run) -> list[str]:
    """Return the training images' name if others know it: that of a data set, not that of a folder."""
    source = run.config.data.source
    if _HUB_NAME.match(source):
        return [_HUB_NAME.sub(r"\1", source)]
    return [source] if source in ENTRIES else []


def _model_index(run: Run, reports: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the numbers as the hub reads them: a result for each report."""
    results = []
    for report in reports.values():
        test = str(report.get("test") or report.get("queries")).split(" ")[0]
        results.append(
            {
                "task": {"type": "image-feature-extraction", "name": _task(report)},
                "dataset": {"type": test.split("/")[0], "name": test, "split": test.split("/")[-1]},
                "metrics": [
                    {
                        "type": _SCORES.get(metric, metric.replace(" ", "_")),
                        "name": f"{metric} of {layer}",
                        "value": round(value, 2),
                    }
                    for metric, layer, value in _values(report)
                ],
            }
        )
    return [{"name": run.config.name, "results": results}] if results else []


def _reports(run: Run) -> dict[str, dict[str, Any]]:
    """Return the run's probe and retrieval reports by name, without those that were made with other settings."""
    found = {}
    for path in sorted(reports_folder(run).glob("*-*.json")):
        report = read_report(path)
        if _values(report) and report.get("config_hash") == run.provenance["config_hash"]:
            found[path.stem] = report
    return found


def _values(report: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Return metric, layer and value in percent of each number in a report; none for other kinds of reports."""
    if isinstance(accuracies := report.get("accuracies"), dict):
        return [(report.get("metric", "top-1"), layer, mean(scores)) for layer, scores in accuracies.items()]
    if {"precision", "k", "layer"} <= report.keys():
        return [(f"precision at {report['k']}", report["layer"], report["precision"])]
    return []


def _numbers(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Return a list item for each report: images, numbers by layer, protocol."""
    items = []
    for report in reports.values():
        values = _values(report)
        train, test = (report.get(a) or report.get(b) for a, b in (("train", "gallery"), ("test", "queries")))
        scores = ", ".join(f"{layer} {value:.1f}" for _, layer, value in values)
        roles = ("Trained on", "tested on") if "accuracies" in report else ("Retrieved from", "queries")
        items.append(f"- {_task(report)}, {values[0][0]}: {scores}. {roles[0]} {train}, {roles[1]} {test}.")
    return items


def _task(report: dict[str, Any]) -> str:
    """Return what was measured, with the protocol's settings."""
    if "accuracies" not in report:
        return "Retrieval by cosine similarity"
    protocol = report.get("protocol", {})
    settings = ", ".join(
        f"{key} {len(value) if key == 'seeds' else value}"
        for key, value in protocol.items()
        if key not in ("name", "layers")
    )
    return f"Linear probe of each frozen layer (protocol {protocol.get('name', 'codial')}: {settings})"


def _description(run: Run, backbone: Backbone) -> str:
    width = f"width multiplier {run.config.model.width:g}, " if backbone.scales_width else ""
    weights = [tensor for tensor in read_weights(run.checkpoint()).values() if tensor.is_floating_point()]
    kinds = " and ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in weights}))
    return f"{_INPUTS.get(run.config.method.input, '')}{width}{sum(map(Tensor.numel, weights)):,} weights in {kinds}"


def _limits(run: Run, backbone: Backbone) -> str:
    """Return what the export lacks, as sentences; empty if nothing."""
    absent = [layer for layer in layer_names(run.config).layers if layer not in backbone.layers]
    return f"The layers {' and '.join(absent)} are not included and cannot be evaluated. " if absent else ""


@torch.no_grad()
def _shapes(backbone: Backbone) -> dict[str, str]:
    """Return the shape of the activations of each layer as text."""
    activations = backbone.features(torch.zeros(1, 3, backbone.size, backbone.size))
    return {layer: f"[B, {', '.join(map(str, x.shape[1:]))}]" for layer, x in activations.items()}
