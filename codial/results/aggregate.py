"""Reports of runs, grouped by configuration: runs that differ only in their seeds are one group."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from codial.config import Config, config_hash
from codial.data import name_of
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.methods.codial import CodialConfig
from codial.models import layer_names
from codial.results.comparability import differences
from codial.runs.publish import SHORTCUTS
from codial.runs.reports import current_report, read_report
from codial.runs.run import Run

_FINAL = 0.05  # last part of a run, over which `final_value` averages


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seeds.

    Attributes:
        name: name of the config, with its hash where two groups have the same name.
        runs: the runs.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> Config:
        """Config of the first run."""
        return self.runs[0].config

    @property
    def method(self) -> str:
        """Method with variant, such as codial-cls of codial-cls/photos."""
        return self.config.name.split("/")[0]

    def probe_reports(self, dataset: str) -> list[ProbeReport]:
        """Return the runs' probe reports on a dataset; runs without one are skipped.

        Raises:
            CodialError: the reports are of different images or protocols.
        """
        reports = [report for run in self.runs if (report := probe_report(run, dataset)) is not None]
        if len({(report.train, report.test, replace(report.protocol, precision="auto")) for report in reports}) > 1:
            raise CodialError(
                f"The runs of {self.name} were probed on {dataset} with different images or protocols; `codial probe"
                f" {' '.join(str(run.folder) for run in self.runs)} --train {dataset}` probes them alike."
            )
        return reports

    def without_report(self, name: str) -> list[Run]:
        """Return the runs without a current report of a name, such as probe-cifar10."""
        return [run for run in self.runs if current_report(run, name) is None]

    def retrieval_precision(self, dataset: str, layer: str = "") -> list[float]:
        """Return the runs' retrieval precision in percent on a dataset by a layer, by default the last.

        Runs without a report are skipped.
        """
        return self._values(f"retrieval-{dataset}-{layer or layer_names(self.config).last}", "precision")

    def transfer_values(self, task: str) -> list[float]:
        """Return the runs' value in percent on a task, such as voc2007-detection; runs without a report are skipped."""
        return self._values(f"transfer-{task}", "value")

    def _values(self, report: str, key: str) -> list[float]:
        paths = [path for run in self.runs if (path := current_report(run, report)) is not None]
        return [float(read_report(path, **{key: (float, int)})[key]) for path in paths]


def group_by_seed(runs: Iterable[Run]) -> list[RunGroup]:
    """Group runs that differ only in their seeds, in order of first appearance."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.name, _settings_hash(run.config)), []).append(run)
    configs = [members[0].config for members in groups.values()]
    return [
        RunGroup(_group_name(config, configs), tuple(members))
        for config, members in zip(configs, groups.values(), strict=True)
    ]


def _group_name(config: Config, configs: Sequence[Config]) -> str:
    """Return a group's name, with its backbone or else the hash of its settings if others have the same name."""
    backbones = [each.model.backbone for each in configs if each.name == config.name]
    if len(backbones) == 1:
        return config.name
    distinct = backbones.count(config.model.backbone) == 1
    return f"{config.name} {config.model.backbone if distinct else _settings_hash(config)[:4]}"


def _settings_hash(config: Config) -> str:
    return config_hash(replace(config, seed=0))


def probe_reports(runs: Iterable[Run], dataset: str) -> dict[str, list[ProbeReport]]:
    """Return the probe reports on a dataset by name of the group; groups without reports are skipped.

    Raises:
        CodialError: no run has a report, or those of one group are of different images or protocols.
    """
    reports = {group.name: found for group in group_by_seed(runs) if (found := group.probe_reports(dataset))}
    if not reports:
        raise CodialError(f"No run has a probe report on {dataset}; `codial probe RUN --train {dataset}` makes one.")
    return reports


def probe_report(run: Run, dataset: str) -> ProbeReport | None:
    """Return a run's probe report on a dataset; None if there is none of the run's current config."""
    path = current_report(run, f"probe-{dataset}")
    return None if path is None else ProbeReport.load(path)


def accuracy_by_pairs(runs: Sequence[Run], dataset: str) -> dict[str, dict[int, list[float]]]:
    """Return accuracies by layer and number of aligned pairs of views, one value per run (the paper's Figure 3).

    Args:
        runs: runs of codial and codial-pairsN; others are ignored.
        dataset: dataset of the probe reports.

    Raises:
        CodialError: none of the runs has a report, or their configs differ in more than pairs and seed.
    """
    pair_runs = [run for run in runs if _is_pair_run(run)]
    _check_same_settings(pair_runs)
    accuracies: dict[str, dict[int, list[float]]] = {}
    for run in pair_runs:
        report = probe_report(run, dataset)
        for layer in report.accuracies if report is not None else ():
            assert report is not None
            accuracies.setdefault(layer, {}).setdefault(_pair_count(run), []).append(report.mean(layer))
    if not accuracies:
        raise CodialError(
            f"No run of codial or codial-pairsN has a probe report on {dataset}; `codial sweep figure3/photos --probe`"
            " makes such runs, and `codial probe RUN` their reports."
        )
    return {layer: dict(sorted(values.items())) for layer, values in accuracies.items()}


def gains_over_random(runs: Sequence[Run], dataset: str) -> dict[str, dict[str, list[float]]]:
    """Return accuracy gains over random weights in percentage points, by group and layer, one value per run.

    Args:
        runs: trained runs, and runs of random weights. The baseline is that of the same seed, or else the mean.
        dataset: dataset of the probe reports.

    Raises:
        CodialError: no run of random weights of the same backbone, or no trained run, has a report.
    """
    reports = [(run, report) for run in runs if (report := probe_report(run, dataset)) is not None]
    if len({_is_untrained(run) for run, _ in reports}) < 2:
        raise CodialError(
            f"Gains need probe reports on {dataset} of random weights and of trained runs; `codial sweep random/photos"
            " codial/photos --probe` makes some."
        )
    gains = {}
    for group in group_by_seed(run for run, _ in reports if not _is_untrained(run)):
        baselines = _baselines(reports, group)
        gains[group.name] = {
            layer: [
                report.mean(layer) - _baseline(baselines, run, layer) for run, report in reports if run in group.runs
            ]
            for layer in next(iter(baselines.values())).accuracies
        }
    return gains


def _baselines(reports: Sequence[tuple[Run, ProbeReport]], group: RunGroup) -> dict[int, ProbeReport]:
    """Return the reports of random weights of a group's backbone, by seed.

    Raises:
        CodialError: there are none.
    """
    backbone = group.config.model.backbone
    untrained = [(run, report) for run, report in reports if _is_untrained(run)]
    found = {run.config.seed: report for run, report in untrained if run.config.model.backbone == backbone}
    if not found:
        raise CodialError(
            f"Gains of {group.name} need a probe report of random weights of its backbone; `codial pretrain"
            f" random/photos --set model.backbone={backbone}` makes such a run."
        )
    return found


def _is_untrained(run: Run) -> bool:
    return run.config.train.epochs == 0


def _baseline(baselines: dict[int, ProbeReport], run: Run, layer: str) -> float:
    report = baselines.get(run.config.seed)
    return report.mean(layer) if report is not None else mean(report.mean(layer) for report in baselines.values())


def pairs_note(runs: Sequence[Run], dataset: str) -> str:
    """Return a sentence on the number of runs per point, and on differences from the paper's Figure 3."""
    pair_runs = [run for run in runs if _is_pair_run(run) and probe_report(run, dataset) is not None]
    counts = [sum(_pair_count(other) == _pair_count(run) for other in pair_runs) for run in pair_runs]
    count = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(max(counts))
    band = ", the band is one standard deviation over seeds" if max(counts) > 1 else ""
    note = f"{count} run{'s' * (max(counts) > 1)} per point{band}."
    reasons = "; ".join(differences(pair_runs[0], "stl10"))
    return f"{note} Not comparable with the paper's STL-10: {reasons}." if reasons else note


def _is_pair_run(run: Run) -> bool:
    return re.fullmatch(r"codial(-pairs\d+)?", run.config.name.split("/")[0]) is not None


def _pair_count(run: Run) -> int:
    assert isinstance(run.config.method, CodialConfig)
    return run.config.method.pairs


def _check_same_settings(runs: Sequence[Run]) -> None:
    hashes: dict[str, Run] = {}
    for run in runs:
        assert isinstance(run.config.method, CodialConfig)
        settings = replace(run.config, seed=0, method=replace(run.config.method, pairs=1))
        hashes.setdefault(config_hash(settings), run)
    if len(hashes) > 1:
        first, other = list(hashes.values())[:2]
        raise CodialError(
            f"{first.folder} and {other.folder} differ in more than pairs and seed; expected runs of one recipe."
        )


def final_value(run: Run, name: str) -> float | None:
    """Return a history term's mean over the last 5 % of its lines; None if the run has no such term."""
    lines = [line for line in run.history if name in line]
    last = lines[-max(1, round(_FINAL * len(lines))) :]
    return mean(line[name] for line in last) if last else None


def shortcut_bound(run: Run, cue: str) -> float | None:
    """Return the bound in nats that critics reach from a cue of a run's views; None if there is no current report."""
    path = current_report(run, f"{SHORTCUTS}-{name_of(run.config.data.source)}")
    return None if path is None else float(read_report(path, nats=dict)["nats"][cue])
