"""Linear probes: accuracy of linear classifiers on each frozen layer, by one of three protocols."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.features import backbone_of, map_layers
from codial.evaluate.probes.cached import ProbeConfig
from codial.evaluate.probes.targets import check_datasets, probe_targets
from codial.evaluate.probes.zhang_globstat import GlobStatProbe, ZhangProbe
from codial.models import Backbone
from codial.runs.run import Run
from codial.utils.atomic_io import make_folder, write_atomic
from codial.utils.devices import uses_bf16
from codial.utils.json_io import read_json

Protocol = ProbeConfig | ZhangProbe | GlobStatProbe
PROTOCOLS: dict[str, type[Protocol]] = {kind.name: kind for kind in (ProbeConfig, ZhangProbe, GlobStatProbe)}


@dataclass(frozen=True)
class ProbeReport:
    """Probe results by layer, with all settings that are needed to reproduce them.

    Attributes:
        name: name of the run.
        accuracies: by layer, one value per probe seed, in percent of `metric`.
        dims: number of dimensions of the classifier's input, by layer.
        protocol: the protocol with its settings.
        train: training images, as `Dataset.describe` returns them.
        test: test images.
        config_hash: hash of the run's config.
        metric: "top-1" of labels, "mAP" of tags.
    """

    name: str
    accuracies: dict[str, tuple[float, ...]]
    dims: dict[str, int]
    protocol: Protocol
    train: str
    test: str
    config_hash: str = ""
    metric: str = "top-1"

    def mean(self, layer: str) -> float:
        """Return a layer's mean accuracy over probe seeds in percent."""
        return sum(self.accuracies[layer]) / len(self.accuracies[layer])

    def std(self, layer: str) -> float:
        """Return a layer's standard deviation over probe seeds in percentage points; 0 for one seed."""
        values = self.accuracies[layer]
        mean = self.mean(layer)
        return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        make_folder(Path(path).parent)
        values = asdict(self)
        values["protocol"] = {"name": self.protocol.name} | values["protocol"]
        write_atomic(Path(path), json.dumps(values, indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> "ProbeReport":
        """Read a report that `save` wrote.

        Raises:
            CodialError: the file is not such a report.
        """
        try:
            values = {"metric": "top-1"} | read_json(Path(path))  # older reports have no metric
            accuracies = {layer: tuple(map(float, v)) for layer, v in values["accuracies"].items()}
            if not accuracies or not all(accuracies.values()):
                raise ValueError("no accuracies")
            kept = {f.name: values[f.name] for f in fields(cls)}
            kept |= {"protocol": _protocol(values["protocol"]), "accuracies": accuracies}
        except (CodialError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CodialError(f"{path} is not a probe report ({error!r}).") from error
        return cls(**kept)

    def __str__(self) -> str:
        layers = [f"{layer} {self.mean(layer):.1f} ± {self.std(layer):.1f}" for layer in self.accuracies]
        return f"{self.name}: " + ", ".join(layers)


def probe(
    source: Run | Backbone,
    train: Dataset,
    test: Dataset,
    config: Protocol | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> ProbeReport:
    """Probe a frozen backbone's layers; the report of a run is also saved in its `evaluations` folder.

    Args:
        source: a run or a backbone.
        train: labeled or tagged images that classifiers are trained on.
        test: images with the same classes that classifiers are evaluated on.
        config: the protocol; CODIAL's by default.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: a dataset is unlabeled, their classes differ, or there is no such layer.
    """
    config = config or ProbeConfig()
    check_datasets(train, test)
    backbone = backbone_of(source, device).eval()
    backbone_device = next(backbone.parameters()).device
    precision = "bf16" if uses_bf16(config.precision, backbone_device) else "float32"
    config = replace(config, layers=config.layers or map_layers(backbone), precision=precision)
    backbone.require(config.layers)
    accuracies, dims = config.measure(backbone, train, test, progress)
    report = ProbeReport(
        name=source.config.name if isinstance(source, Run) else "backbone",
        accuracies={layer: tuple(values) for layer, values in accuracies.items()},
        dims=dims,
        protocol=config,
        train=train.describe(),
        test=test.describe(),
        config_hash=source.provenance["config_hash"] if isinstance(source, Run) else "",
        metric=probe_targets(test, backbone_device).metric,
    )
    if isinstance(source, Run):
        report.save(source.folder / "evaluations" / report_file(train.name, config))
    return report


def report_file(name: str, protocol: Protocol) -> str:
    """Return the file name of a report on the dataset `name`; CODIAL's own protocol is not part of it."""
    return f"probe-{name}.json" if isinstance(protocol, ProbeConfig) else f"probe-{name}-{protocol.name}.json"


def _protocol(values: dict[str, Any]) -> Protocol:
    """Read a saved protocol; older reports have no name (there was one protocol) and no precision (float32)."""
    kind = PROTOCOLS[values.get("name", ProbeConfig.name)]
    settings: dict[str, Any] = {"precision": "float32"}
    settings |= {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "name"}
    return kind(**settings)
