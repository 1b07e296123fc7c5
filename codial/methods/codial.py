"""CODIAL: classify the primary transform of each view and align the views of an image (equations 1 and 3-7)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require, require_choice
from codial.losses import Alignment, BetaSchedule
from codial.methods.base import Batch, ConfusionMatrix, Method, Terms, accuracy, confusion_matrix
from codial.methods.variants import Change, Variant, both, with_method, with_views
from codial.models import Critic, StochasticHead, build_backbone, to_gaussian


@dataclass(frozen=True)
class CodialConfig(MethodConfig):
    """Settings of CODIAL (equations 1 and 3-7); comments give the reason where the paper does not specify a value."""

    name: str = "codial"
    head: str = "shared"  # shared, split or decoupled: what classifier and stochastic head read; see `Codial`
    z_dim: int = 64  # as in Multi-View Information Bottleneck (MIB), on which the paper builds; unused by split
    critic_hidden: int = 1024  # likewise
    cls_weight: float = 1.0  # lambda_cls, equation 7
    mi_weight: float = 1.0  # lambda_mi, equation 7
    pairs: int = 10  # aligned pairs of views per image, of K (K - 1) / 2; more are better in Figure 3
    negatives: str = "random"  # any view of another image, as in the paper; same or roll: see `losses.Alignment`
    skl_reduce: str = "sum"  # over the dimensions of z, since SKL is a divergence of vectors; or mean
    beta_start: float = 1e-6
    beta_end: float = 1.0
    beta_hold: float = 0.053  # fraction of the run before the ramp, 50k of 937.5k steps in MIB
    beta_ramp: float = 0.107  # fraction of the run that the ramp takes, 100k of 937.5k steps in MIB

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("method.head", self.head, ("shared", "split", "decoupled"))
        require_choice("method.negatives", self.negatives, ("random", "same", "roll"))

        require_choice("method.skl_reduce", self.skl_reduce, ("sum", "mean"))
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

    def check(self, config: Config) -> None:
        """Check that the views of an image form enough pairs, unless alignment is off."""
        if self.mi_weight > 0:
            views = len(config.views.primary)
            possible = views * (views - 1) // 2
            expected = f"at most {possible}, the pairs of {views} views (or mi_weight 0)"
            require(self.pairs <= possible, "method.pairs", self.pairs, expected)

    @property
    def beta(self) -> BetaSchedule:
        """Schedule of the weight of the bottleneck."""
        return BetaSchedule(self.beta_start, self.beta_end, self.beta_hold, self.beta_ramp)


def _scale_rate(factor: float) -> Change:
    return lambda config: replace(config, train=replace(config.train, lr=factor * config.train.lr))


_NO_COLOR: dict[str, Any] = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
_MILD: dict[str, Any] = {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.05}
_EARLY: dict[str, Any] = {"beta_hold": 0.053, "beta_ramp": 0.107}  # as in MIB

_PARTS = "What does each part of the loss add?"
_HEAD = "What do classifier and stochastic head read?"
_BETA = "Where does beta end, and when?"
_SKL = "Is the divergence summed or averaged over z?"
_Z = "How many dimensions does z have?"
_NEGATIVES = "How are negatives sampled?"
_CROP = "How small may a crop be?"
_COLOR = "How strong is the color jitter?"
_RATE = "Which learning rate?"

# The answer of the presets of CODIAL itself to each question that the paper leaves open.
ANSWERS = {
    _PARTS: "discrimination and alignment",
    _HEAD: "all of fc7, through linear layers",
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

    - shared: both read all of fc7, the code through a linear layer of its own. This is the default, since the
      bottleneck need not remove the transform from the features that the classifier reads.
    - split: fc7 itself is [mean | raw sigma], and the classifier reads it. This is the most literal.
    - decoupled: the classifier reads the first half of fc7 and the stochastic head the second, as in Decouple.

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
        # Answers to questions that the paper leaves open.
        "split": Variant(with_method(head="split"), _HEAD, "all of fc7, as [mu | sigma]"),
        "decoupled": Variant(with_method(head="decoupled"), _HEAD, "half of fc7 each"),
        "beta0": Variant(with_method(beta_end=1e-6), _BETA, "1e-6, practically none"),
        "beta1": Variant(with_method(beta_end=1.0), _BETA, "1, over the entire run"),
        "early": Variant(with_method(**_EARLY), _BETA, "0.01, after a sixth of it"),
        "early1": Variant(with_method(beta_end=1.0, **_EARLY), _BETA, "1, after a sixth of it"),
        "mean1": Variant(with_method(skl_reduce="mean", beta_end=1.0), _SKL, "averaged, beta to 1"),
        "z16": Variant(with_method(z_dim=16), _Z, "16"),
        "z256": Variant(with_method(z_dim=256), _Z, "256"),
        "any": Variant(with_method(negatives="random"), _NEGATIVES, "any view of another image"),
        "roll": Variant(with_method(negatives="roll"), _NEGATIVES, "same view of the previous image in the batch"),
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
        self.options = options
        self.transforms = config.views.primary if options.cls_weight > 0 else ()
        self.backbone = build_backbone(config)
        half = self.backbone.feature_dim // 2
        inputs = half if options.head == "decoupled" else self.backbone.feature_dim
        self.classifier = nn.Linear(inputs, len(config.views.primary))
        if options.mi_weight > 0:
            if options.head != "split":
                self.head = StochasticHead(inputs, options.z_dim)
            self.alignment = Alignment(
                Critic(half if options.head == "split" else options.z_dim, options.critic_hidden),
                len(config.views.primary),
                pairs=options.pairs,
                negatives=options.negatives,
                skl_reduce=options.skl_reduce,
            )

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the paper's settings under its recipe, and ours under every other.

        Our negatives have the transform of the positive, so that the critic cannot tell them apart by the transform,
        and beta ends at 0.01.
        """
        if recipe.name == "paper":
            return recipe.config(CodialConfig())
        hidden = 256 if recipe.small else 1024
        ours = CodialConfig(negatives="same", beta_end=0.01, beta_hold=0.0, beta_ramp=1.0, critic_hidden=hidden)
        return recipe.config(ours)

    def terms(self, batch: Batch) -> Terms:
        """Return loss, loss_transform, pretext_accuracy and, unless mi_weight is 0, mi_js, skl and beta."""
        images, labels = batch.views.images, batch.views.labels
        features = self.backbone(images.flatten(0, 1))  # [B, K, 3, S, S] -> [B * K, F]
        classifier_input, head_input = self._split(features)
        logits = self.classifier(classifier_input).float()
        transform = cross_entropy(logits, labels.flatten())  # equation 1
        terms: Terms = {"loss_transform": transform, "pretext_accuracy": accuracy(logits, labels.flatten())}
        loss = self.options.cls_weight * transform
        if self.options.mi_weight > 0:
            mu, sigma = (part.view(*labels.shape, -1) for part in self._code(head_input))  # [B, K, Z]
            mi_js, skl = self.alignment(mu, sigma, batch.rng)
            beta = self.options.beta.at(batch.progress)
            loss = loss + self.options.mi_weight * (beta * skl - mi_js)  # equations 6 and 7
            terms |= {"mi_js": mi_js, "skl": skl, "beta": beta}
        return {"loss": loss} | terms

    def confusion(self, batch: Batch) -> ConfusionMatrix | None:
        """Return the confusion matrix of the primary transforms; None if cls_weight is 0."""
        if not self.transforms:
            return None
        classifier_input, _ = self._split(self.backbone(batch.views.images.flatten(0, 1)))
        return confusion_matrix(self.transforms, self.classifier(classifier_input), batch.views.labels.flatten())

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [B * K, F] that the classifier and the stochastic head read."""
        if self.options.head == "decoupled":
            first, second = features.chunk(2, dim=1)
            return first, second
        return features, features

    def _code(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the code, [B * K, Z] each."""
        return to_gaussian(features) if self.options.head == "split" else self.head(features)


def questions() -> dict[str, dict[str, str]]:
    """Return the answers to each question that the paper leaves open, by method or variant; CODIAL itself is first."""
    answers = {question: {"codial": answer} for question, answer in ANSWERS.items()}
    for name, variant in Codial.variants.items():
        if variant.question:
            answers[variant.question][f"codial-{name}"] = variant.answer
    return answers
