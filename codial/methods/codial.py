"""CODIAL: classify the primary transform of each view and align the views of an image (equations 1 and 3-7)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require, require_choice
from codial.losses import BOUNDS, BetaSchedule, CodialLoss, ceiling
from codial.losses.alignment import NEGATIVES, pairs_of_views
from codial.losses.codial_loss import CRITICS, HEADS, PROJECTORS
from codial.methods.base import Batch, ConfusionMatrix, Method, Terms, confusion_matrix
from codial.methods.variants import Change, Variant, both, with_method, with_views
from codial.models import build_backbone


@dataclass(frozen=True)
class CodialConfig(MethodConfig):
    """Settings of CODIAL (equations 1 and 3-7); comments give the reason where the paper does not specify a value."""

    name: str = "codial"
    head: str = "shared"  # shared, split or decoupled: what classifier and stochastic head read; see `Codial`
    z_dim: int = 64  # as in Multi-View Information Bottleneck (MIB), on which the paper builds; unused by split
    critic_hidden: int = 1024  # likewise
    cls_weight: float = 1.0  # lambda_cls, equation 7
    mi_weight: float = 1.0  # lambda_mi, equation 7
    bound: str = "js"  # the paper's; infonce, nwj or dv: see `losses.bounds`
    critic: str = "mlp"  # the paper's; or cosine
    temperature: float = 0.2  # of the cosine critic
    projector: str = "linear"  # from features to the code; or mlp, as in SimCLR
    bottleneck: bool = True  # Gaussian codes and their divergence; without, codes are points, and beta is unused
    align: str = "all"  # which pairs of views; or rotation, those with the same rotation (warp has that of rot0)
    pairs: int = 10  # aligned pairs of views per image, of K (K - 1) / 2; more are better in Figure 3
    negatives: str = "random"  # any view of another image, as in the paper; same, roll, batch: see `losses.Alignment`
    skl_reduce: str = "sum"  # over the dimensions of z, since SKL is a divergence of vectors; or mean
    beta_start: float = 1e-6
    beta_end: float = 1.0
    beta_hold: float = 0.053  # fraction of the run before the ramp, 50k of 937.5k steps in MIB
    beta_ramp: float = 0.107  # fraction of the run that the ramp takes, 100k of 937.5k steps in MIB

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choices()
        require(self.temperature > 0, "method.temperature", self.temperature, "a positive number")
        require(self.z_dim >= 1, "method.z_dim", self.z_dim, "at least 1")
        require(self.critic_hidden >= 1, "method.critic_hidden", self.critic_hidden, "at least 1")
        require(self.pairs >= 1, "method.pairs", self.pairs, "at least 1")
        for name in ("cls_weight", "mi_weight"):
            require(getattr(self, name) >= 0, f"method.{name}", getattr(self, name), "a number >= 0")
        ascending = 0 < self.beta_start <= self.beta_end
        require(ascending, "method.beta_start", self.beta_start, "a number in (0, beta_end]")
        total = self.beta_hold + self.beta_ramp
        valid = self.beta_hold >= 0 and self.beta_ramp >= 0 and total <= 1 + 1e-9
        require(valid, "method.beta_hold + beta_ramp", total, "fractions of the run whose sum is at most 1")

    def _check_choices(self) -> None:
        require_choice("method.head", self.head, HEADS)
        require_choice("method.bound", self.bound, tuple(BOUNDS))
        require_choice("method.critic", self.critic, CRITICS)
        require_choice("method.projector", self.projector, PROJECTORS if self.head != "split" else ("linear",))
        require_choice("method.align", self.align, ("all", "rotation"))
        require_choice("method.negatives", self.negatives, NEGATIVES)
        require_choice("method.skl_reduce", self.skl_reduce, ("sum", "mean"))

    def check(self, config: Config) -> None:
        """Check that the views of an image form enough pairs, unless alignment is off."""
        if self.mi_weight > 0:
            primary = config.views.primary
            possible = len(pairs_of_views(self.groups(primary)))
            of = f"the pairs of {len(primary)} views" + (" with equal rotation" if self.align == "rotation" else "")
            require(self.pairs <= possible, "method.pairs", self.pairs, f"at most {possible}, {of} (or mi_weight 0)")

    def groups(self, primary: tuple[str, ...]) -> list[str]:
        """Return the group of each view; views of the same group may be aligned."""
        return [_ROTATION.get(name, name) if self.align == "rotation" else "all" for name in primary]

    def ceiling(self, config: Config) -> float:
        """Return the largest value that the bound may take in a run, in nats; it may be infinite."""
        others = (config.train.batch - 1) * len(config.views.primary)
        return ceiling(self.bound, others if self.negatives == "batch" else 1)

    @property
    def mi_term(self) -> str:
        """Name of the bound in the history."""
        return f"mi_{self.bound}"

    @property
    def beta(self) -> BetaSchedule:
        """Schedule of the weight of the bottleneck."""
        return BetaSchedule(self.beta_start, self.beta_end, self.beta_hold, self.beta_ramp)


def _scale_rate(factor: float) -> Change:
    return lambda config: replace(config, train=replace(config.train, lr=factor * config.train.lr))


_ROTATION = {"warp": "rot0"}  # the rotation of transforms that are not named after theirs
_NO_COLOR: dict[str, Any] = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
_MILD: dict[str, Any] = {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.05}
_EARLY: dict[str, Any] = {"beta_hold": 0.053, "beta_ramp": 0.107}  # as in MIB
_JS: dict[str, Any] = {  # the paper's
    "bound": "js",
    "critic": "mlp",
    "projector": "linear",
    "z_dim": 64,
    "negatives": "same",
    "bottleneck": True,
}
_INFONCE: dict[str, Any] = {  # as in SimCLR
    "bound": "infonce",
    "critic": "cosine",
    "projector": "mlp",
    "z_dim": 128,
    "negatives": "batch",
    "bottleneck": False,
}


def _with_js(**changes: Any) -> Change:
    """Return a change of the paper's form, to which a config with InfoNCE, as that of `photos`, is changed first."""

    def change(config: Config) -> Config:
        assert isinstance(config.method, CodialConfig)
        form = _JS if config.method.bound == "infonce" else {}
        return with_method(**form | changes)(config)

    return change


_PARTS = "What does each part of the loss add?"
_HEAD = "What do classifier and stochastic head read?"
_BOUND = "Which bound on mutual information?"
_BETA = "Where does beta end, and when?"
_SKL = "Is the divergence summed or averaged over z?"
_Z = "How many dimensions does z have?"
_NEGATIVES = "How are negatives sampled?"
_CROP = "How small may a crop be?"
_COLOR = "How strong is the color jitter?"
_RATE = "Which learning rate?"

# The answer of CODIAL itself to each question that the paper leaves open, under every recipe but `photos`.
ANSWERS = {
    _PARTS: "discrimination and alignment",
    _HEAD: "all features, through linear layers",
    _BOUND: "Jensen-Shannon, one negative per pair",
    _BETA: "0.01, over the entire run",
    _SKL: "summed, beta to 0.01",
    _Z: "64",
    _NEGATIVES: "same view of another image",
    _CROP: "20 % of the image",
    _COLOR: "as in the paper, but hue 0.1",
    _RATE: "the recipe's",
}


@register("codial")
class Codial(Method):
    """Concurrent discrimination and alignment.

    The paper does not specify whether the classifier and the stochastic code share the output of the backbone.
    `method.head` selects one of three variants:

    - shared: both read all features, the code through a linear layer of its own. This is the default, since the
      bottleneck need not remove the transform from the features that the classifier reads.
    - split: the last layer itself is [mean | raw sigma], and the classifier reads it. This is the most literal.
    - decoupled: the classifier reads the first half of the features, the stochastic head the second, as in Decouple.

    Departures from the original: under every recipe but `paper`, a negative has the transform of the positive, and beta
    ends at 0.01. Under `photos`, alignment has the form of SimCLR, InfoNCE without a bottleneck, from which this short
    demonstration learns more; `codial-js/photos` has the paper's Jensen-Shannon bound and bottleneck.

    Variants of the head, the bound, the bottleneck, the code and the negatives are variants of the paper's form, also
    under `photos`. All others (parts of the loss, pairs, views, learning rate) change CODIAL as the recipe has it:
    `codial-mi/photos` is InfoNCE alone.

    Args:
        config: config of the run; `config.method` holds CODIAL's settings.
        images: unused.
        classes: unused.
    """

    settings = CodialConfig
    variants: ClassVar = {
        # Parts of the loss (Table 2).
        "cls": Variant(with_method(mi_weight=0.0), _PARTS, "discrimination alone"),
        "mi": Variant(with_method(cls_weight=0.0), _PARTS, "alignment alone"),
        # Auxiliary transforms (Table 2): crop, blur, color; CODIAL itself has crop and color.
        "cr": Variant(with_views(**_NO_COLOR)),
        "cr-bl": Variant(with_views(blur=0.5, **_NO_COLOR)),
        "cr-bl-co": Variant(with_views(blur=0.5)),
        # Aligned pairs of views (Figure 3); CODIAL itself has all ten.
        **{f"pairs{count}": Variant(with_method(pairs=count)) for count in range(1, 10)},
        # The paper's form, also under the recipe photos.
        "js": Variant(_with_js()),
        # Answers to questions that the paper leaves open.
        "split": Variant(_with_js(head="split"), _HEAD, "all features, as [mu | sigma]"),
        "decoupled": Variant(_with_js(head="decoupled"), _HEAD, "half of the features each"),
        "infonce": Variant(with_method(**_INFONCE), _BOUND, "InfoNCE of cosines, all negatives"),
        "upright": Variant(
            with_method(**_INFONCE, align="rotation", pairs=1, mi_weight=0.1),
            _BOUND,
            "likewise, upright pairs, weight 0.1",
        ),
        "jsbatch": Variant(_with_js(negatives="batch"), _BOUND, "Jensen-Shannon, all negatives"),
        "nwj": Variant(_with_js(bound="nwj"), _BOUND, "NWJ, one negative per pair"),
        "dv": Variant(_with_js(bound="dv"), _BOUND, "Donsker-Varadhan, one negative per pair"),
        "beta0": Variant(_with_js(beta_end=1e-6), _BETA, "1e-6, practically none"),
        "beta1": Variant(_with_js(beta_end=1.0), _BETA, "1, over the entire run"),
        "early": Variant(_with_js(**_EARLY), _BETA, "0.01, after a sixth of it"),
        "early1": Variant(_with_js(beta_end=1.0, **_EARLY), _BETA, "1, after a sixth of it"),
        "mean1": Variant(_with_js(skl_reduce="mean", beta_end=1.0), _SKL, "averaged, beta to 1"),
        "z16": Variant(_with_js(z_dim=16), _Z, "16"),
        "z256": Variant(_with_js(z_dim=256), _Z, "256"),
        "any": Variant(_with_js(negatives="random"), _NEGATIVES, "any view of another image"),
        "roll": Variant(_with_js(negatives="roll"), _NEGATIVES, "same view of the previous image in the batch"),
        "crop8": Variant(with_views(crop_area=(0.08, 1.0)), _CROP, "8 %, as in the paper"),
        "crop50": Variant(with_views(crop_area=(0.5, 1.0)), _CROP, "50 %"),
        "hue50": Variant(with_views(hue=0.5), _COLOR, "as in the paper, hue 0.5"),
        "cls-hue50": Variant(
            both(with_views(hue=0.5), with_method(mi_weight=0.0)), _COLOR, "hue 0.5, discrimination alone"
        ),
        "mi-hue50": Variant(both(with_views(hue=0.5), with_method(cls_weight=0.0)), _COLOR, "hue 0.5, alignment alone"),
        "gray50": Variant(with_views(grayscale=0.5), _COLOR, "half of the views gray"),
        "mild": Variant(with_views(**_MILD), _COLOR, "half as strong"),
        "slow": Variant(_scale_rate(0.5), _RATE, "half"),
        "fast": Variant(_scale_rate(2.0), _RATE, "double"),
    }

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, CodialConfig)
        self.transforms = config.views.transforms if options.cls_weight > 0 else ()
        self.backbone = build_backbone(config)
        self.loss = CodialLoss(
            self.backbone.feature_dim,
            len(config.views.primary),
            classes=len(config.views.transforms),
            groups=options.groups(config.views.primary),
            head=options.head,
            z_dim=options.z_dim,
            projector=options.projector,
            bottleneck=options.bottleneck,
            critic=options.critic,
            critic_hidden=options.critic_hidden,
            temperature=options.temperature,
            cls_weight=options.cls_weight,
            mi_weight=options.mi_weight,
            bound=options.bound,
            pairs=options.pairs,
            negatives=options.negatives,
            skl_reduce=options.skl_reduce,
            beta=options.beta,
        )

    @property
    def classifier(self) -> nn.Linear:  # type: ignore[override]  # it is trained as part of the loss
        """The classifier of the primary transforms."""
        return self.loss.classifier

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the paper's settings under its recipe, and ours under every other; `photos` has InfoNCE.

        Our negatives have the transform of the positive, so that the critic cannot tell them apart by the transform,
        and beta ends at 0.01.
        """
        if recipe.name == "paper":
            return recipe.config(CodialConfig())
        hidden = 256 if recipe.small else 1024
        ours = CodialConfig(beta_end=0.01, beta_hold=0.0, beta_ramp=1.0, critic_hidden=hidden)
        return recipe.config(replace(ours, **(_INFONCE if recipe.name == "photos" else _JS)))

    def terms(self, batch: Batch) -> Terms:
        """Return loss, and the terms of `codial.losses.CodialLoss`."""
        views = batch.views
        features = self.backbone(views.images.flatten(0, 1)).unflatten(0, views.labels.shape)  # [B, K, F]
        loss, terms = self.loss(features, views.labels, batch.progress, batch.rng)
        return {"loss": loss} | terms

    def confusion(self, batch: Batch) -> ConfusionMatrix | None:
        """Return the confusion matrix of the primary transforms; None if cls_weight is 0."""
        if not self.transforms:
            return None
        logits = self.loss.logits(self.backbone(batch.views.images.flatten(0, 1)))
        return confusion_matrix(self.transforms, logits, batch.views.labels.flatten())


def questions() -> dict[str, dict[str, str]]:
    """Return the answers to each question that the paper leaves open, by method or variant; CODIAL itself is first."""
    answers = {question: {"codial": answer} for question, answer in ANSWERS.items()}
    for name, variant in Codial.variants.items():
        if variant.question:
            answers[variant.question][f"codial-{name}"] = variant.answer
    return answers
