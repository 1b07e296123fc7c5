"""Linear probes: how well a linear classifier reads labels or tags off each frozen layer, by one of three protocols."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from codial.data import Pictures
from codial.devices import uses_bf16
from codial.errors import CodialError
from codial.evaluate.cached import ProbeConfig
from codial.evaluate.features import trunk_of
from codial.evaluate.older import GlobStatProbe, ZhangProbe
from codial.evaluate.task import check_sets, task_of
from codial.models import Trunk
from codial.runs import Run
from codial.stored import read_values
from codial.writing import make_folder, write_safely

Protocol = ProbeConfig | ZhangProbe | GlobStatProbe
PROTOCOLS: dict[str, type[Protocol]] = {kind.name: kind for kind in (ProbeConfig, ZhangProbe, GlobStatProbe)}


@dataclass(frozen=True)
class ProbeReport:
    """Accuracies in percent by layer, one a probe seed, with all that is needed to measure them again.

    Attributes:
        name: the run's.
        accuracies: by layer, one a probe seed, in percent of what `metric` says.
        dims: how many numbers the classifier reads, by layer.
        protocol: with its settings.
        train: what the classifiers learnt from, as `Pictures.describe` names it.
        test: what they were judged on.
        config_hash: of the run's settings.
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
        """Return a layer's accuracy in percent, the mean over probe seeds."""
        return sum(self.accuracies[layer]) / len(self.accuracies[layer])

    def spread(self, layer: str) -> float:
        """Return a layer's standard deviation over probe seeds, in points (0 for one seed)."""
        values, mean = self.accuracies[layer], self.mean(layer)
        return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        make_folder(Path(path).parent)
        values = asdict(self)
        values["protocol"] = {"name": self.protocol.name} | values["protocol"]
        write_safely(Path(path), json.dumps(values, indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> "ProbeReport":
        """Read a report that `save` wrote.

        Raises:
            CodialError: the file is not such a report.
        """
        try:
            values = {"metric": "top-1"} | read_values(Path(path))  # reports of old had no other
            accuracies = {layer: tuple(map(float, v)) for layer, v in values["accuracies"].items()}
            if not accuracies or not all(accuracies.values()):
                raise ValueError("it holds no accuracies")
            kept = {f.name: values[f.name] for f in fields(cls)}
            kept |= {"protocol": _protocol(values["protocol"]), "accuracies": accuracies}
        except (CodialError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CodialError(f"{path} is not a probe report ({error!r}).") from error
        return cls(**kept)

    def __str__(self) -> str:
        layers = [f"{layer} {self.mean(layer):.1f} ± {self.spread(layer):.1f}" for layer in self.accuracies]
        return f"{self.name}: " + ", ".join(layers)


def probe(
    source: Run | Trunk,
    train: Pictures,
    test: Pictures,
    config: Protocol | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> ProbeReport:
    """Probe a frozen trunk's layers; the report of a run is also written to its `evaluations` folder.

    Args:
        source: a run or a trunk.
        train: labelled or tagged pictures that the classifiers learn from.
        test: pictures with the same labels or tags that they are judged on.
        config: the protocol; CODIAL's when left out.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: the sets are unlabelled, or their classes differ.
    """
    config = config or ProbeConfig()
    check_sets(train, test)
    trunk = trunk_of(source, device).eval()
    place = next(trunk.parameters()).device
    config = replace(config, precision="bf16" if uses_bf16(config.precision, place) else "float32")
    accuracies, dims = config.measure(trunk, train, test, progress)
    report = ProbeReport(
        name=source.config.name if isinstance(source, Run) else "trunk",
        accuracies={layer: tuple(values) for layer, values in accuracies.items()},
        dims=dims,
        protocol=config,
        train=train.describe(),
        test=test.describe(),
        config_hash=source.provenance["config_hash"] if isinstance(source, Run) else "",
        metric=task_of(test, place).metric,
    )
    if isinstance(source, Run):
        report.save(source.folder / "evaluations" / report_file(train.name, config))
    return report


def report_file(name: str, protocol: Protocol) -> str:
    """Return the name under which a run keeps its report on a set: CODIAL's own protocol is not named in it."""
    return f"probe-{name}.json" if isinstance(protocol, ProbeConfig) else f"probe-{name}-{protocol.name}.json"


def _protocol(values: dict[str, Any]) -> Protocol:
    """Read a protocol from its saved form; those of old had no name, for there was one, and no precision but one."""
    kind = PROTOCOLS[values.get("name", ProbeConfig.name)]
    settings: dict[str, Any] = {"precision": "float32"}
    settings |= {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "name"}
    return kind(**settings)
