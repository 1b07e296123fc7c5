import math

import numpy as np
import pytest
import torch
from torch import nn

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import AlexNet
from codial.models.alexnet import CONV_LAYERS, LAYERS

SMALL = ModelConfig(width=0.05)  # 8 to 24 channels per layer


def parameter_count(module):
    return sum(p.numel() for p in module.parameters())


# Kernels without bias (inputs are halved where there are two groups), then gamma and beta of every batch norm.
#   conv1   3 x 11 x 11 x  96 =    34,848
#   conv2  48 x  5 x  5 x 256 =   307,200
#   conv3 256 x  3 x  3 x 384 =   884,736
#   conv4 192 x  3 x  3 x 384 =   663,552
#   conv5 192 x  3 x  3 x 256 =   442,368     sum 2,332,704 (the classic 2,334,080 less 1,376 biases)
#   norms 2 x (96 + 256 + 384 + 384 + 256 + 4096 + 4096) = 19,136
#   fc7  4096 x 4096 = 16,777,216
#   fc6, low 64 px:   4 x 4 x 256 x 4096 = 16,777,216     sum 35,906,272
#   fc6, full 224 px: 6 x 6 x 256 x 4096 = 37,748,736     sum 56,877,792
# A quarter of the width: 24, 64, 96, 96, 64 channels and 1024 units, 64 px:
#   24 x 363 + 64 x 12 x 25 + 96 x 64 x 9 + 96 x 48 x 9 + 64 x 48 x 9 = 152,328
#   2 x (24 + 64 + 96 + 96 + 64 + 1024 + 1024) = 4,784;  4 x 4 x 64 x 1024 + 1024 x 1024 = 2,097,152
@pytest.mark.parametrize(
    ("width", "resolution", "size", "expected"),
    [(1.0, "low", 64, 35_906_272), (1.0, "full", 224, 56_877_792), (0.25, "low", 64, 2_254_264)],
)
def test_the_number_of_parameters_is_as_calculated(width, resolution, size, expected):
    with torch.device("meta"):
        backbone = AlexNet(ModelConfig(width=width, resolution=resolution), size)
    assert parameter_count(backbone) == expected


def test_the_number_of_parameters_of_each_layer_is_as_calculated():
    with torch.device("meta"):
        backbone = AlexNet(ModelConfig(), 64)
    norms = {"conv1": 192, "conv2": 512, "conv3": 768, "conv4": 768, "conv5": 512, "fc6": 8192, "fc7": 8192}
    kernels = [34_848, 307_200, 884_736, 663_552, 442_368, 16_777_216, 16_777_216]
    counts = {name: parameter_count(getattr(backbone, name)) for name in LAYERS}
    assert counts == {name: kernel + norms[name] for name, kernel in zip(LAYERS, kernels, strict=True)}
    assert backbone.feature_dim == 4096


@pytest.mark.parametrize(
    ("resolution", "size", "sides"),
    [
        ("low", 32, (8, 4, 2)),
        ("low", 48, (12, 6, 3)),
        ("low", 64, (16, 8, 4)),
        ("low", 96, (24, 12, 6)),
        ("low", 224, (56, 28, 14)),
        ("low", 45, (12, 6, 3)),
        ("full", 224, (55, 27, 13)),
        ("full", 96, (23, 11, 5)),
        ("full", 64, (15, 7, 3)),
    ],
)
def test_maps_have_the_sides_of_the_layer_table(resolution, size, sides):
    """research/method.md, "Layer shapes"; fc6 reads all of conv5, or its pooled maps in the full form."""
    with torch.device("meta"):
        backbone = AlexNet(ModelConfig(resolution=resolution), size)
        features = backbone.features(torch.zeros(2, 3, size, size))
    first, second, last = sides
    assert list(features) == list(LAYERS)
    channels = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
    side = {"conv1": first, "conv2": second, "conv3": last, "conv4": last, "conv5": last}
    for name in CONV_LAYERS:
        assert features[name].shape == (2, channels[name], side[name], side[name])
    assert features["fc6"].shape == features["fc7"].shape == (2, 4096)
    input_side = last if resolution == "low" else (last - 3) // 2 + 1
    assert backbone.fc6[0].in_features == 256 * input_side**2


def test_the_input_of_fc6_has_the_usual_dimensions():
    """4096 at 64 px; 9216 at 96 px and, after pool5, at 224."""
    with torch.device("meta"):
        inputs = [AlexNet(ModelConfig(), size).fc6[0].in_features for size in (32, 48, 64, 96)]
        inputs.append(AlexNet(ModelConfig(resolution="full"), 224).fc6[0].in_features)
    assert inputs == [1024, 2304, 4096, 9216, 9216]


# Reference in NumPy


def padded(x, kernel, stride, how):
    """Pad [C, H, W] with zeros: by `how` pixels, or as TensorFlow's "SAME" (an odd pixel goes after)."""
    if how != "same":
        return np.pad(x, ((0, 0), (how, how), (how, how)))
    both = []
    for side in x.shape[1:]:
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        both.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *both))


def windows(x, kernel, stride):
    """[C, h, w, kernel, kernel]"""
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]


def numpy_convolution(x, weight, stride, groups, how):
    patches = windows(padded(x, weight.shape[-1], stride, how), weight.shape[-1], stride)
    outputs, inputs = weight.shape[0] // groups, x.shape[0] // groups
    parts = [
        np.einsum("chwij,ocij->ohw", patches[g * inputs : (g + 1) * inputs], weight[g * outputs : (g + 1) * outputs])
        for g in range(groups)
    ]
    return np.concatenate(parts)


def numpy_features(backbone, image, low):
    """The network of section 4 in float64: convolution, batch norm with running statistics, ReLU."""

    def normed(x, norm):
        shape = (-1,) + (1,) * (x.ndim - 1)
        mean, var, gamma, beta = (
            t.detach().double().numpy().reshape(shape)
            for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return np.maximum((x - mean) / np.sqrt(var + norm.eps) * gamma + beta, 0)

    def pooled(x):
        return windows(padded(x, 3, 2, "same" if low else 0), 3, 2).max((-2, -1))

    mean, std = (np.array(v).reshape(3, 1, 1) for v in (ModelConfig().mean, ModelConfig().std))
    x, features = (image - mean) / std, {}
    layers = (("conv1", 4, 1, 2), ("conv2", 1, 2, 2), ("conv3", 1, 1, 1), ("conv4", 1, 2, 1), ("conv5", 1, 2, 1))
    for name, stride, groups, padding in layers:
        x = pooled(x) if name in ("conv2", "conv3") else x
        layer = getattr(backbone, name)
        weight = layer.conv.weight.detach().double().numpy()
        x = features[name] = normed(
            numpy_convolution(x, weight, stride, groups, "same" if low else padding), layer.norm
        )
    x = (x if low else pooled(x)).ravel()
    for name in ("fc6", "fc7"):
        dense, norm, _ = getattr(backbone, name)
        x = features[name] = normed(dense.weight.detach().double().numpy() @ x, norm)
    return features


def randomize(backbone, generator):
    """Give every layer weights and statistics of which none is negligible."""
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 1.5),
                ):
                    tensor.uniform_(low, high, generator=generator)
    return backbone.eval()


@pytest.mark.parametrize(("resolution", "size"), [("low", 32), ("low", 37), ("low", 45), ("full", 64), ("full", 71)])
def test_the_network_equals_the_numpy_reference(resolution, size, generator):
    backbone = randomize(AlexNet(ModelConfig(width=0.05, resolution=resolution), size), generator)
    image = torch.rand(1, 3, size, size, generator=generator)
    with torch.no_grad():
        features = backbone.features(image)
    expected = numpy_features(backbone, image[0].double().numpy(), resolution == "low")
    for name in LAYERS:
        assert expected[name].std() > 0.01
        np.testing.assert_allclose(features[name][0].numpy(), expected[name], atol=1e-4, rtol=1e-4)


# Batch norm


def test_every_layer_has_batch_norm_and_no_other_normalization():
    backbone = AlexNet(ModelConfig(bn_eps=0.01, bn_momentum=0.2, width=0.05), 32)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 7
    assert {(m.eps, m.momentum, m.affine, m.track_running_stats) for m in norms} == {(0.01, 0.2, True, True)}
    kinds = {type(m) for m in backbone.modules()}
    assert not kinds & {nn.LocalResponseNorm, nn.LayerNorm, nn.GroupNorm, nn.Dropout}
    assert not any(m.bias is not None for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def test_batch_statistics_are_used_in_training_and_not_in_evaluation(generator):
    backbone = randomize(AlexNet(SMALL, 32), generator)
    images = torch.rand(6, 3, 32, 32, generator=generator)
    with torch.no_grad():
        single = torch.cat([backbone(p[None]) for p in images])
        torch.testing.assert_close(backbone(images), single, atol=1e-5, rtol=1e-4)
        before = backbone.conv1.norm.running_mean.clone()
        backbone.train()(images)
    assert not torch.equal(before, backbone.conv1.norm.running_mean)


def test_weights_are_initialized_as_in_globstat(seed):
    """Truncated normals with std 0.01 (kernels) and 0.005 (matrices), cut at 2 std, which leaves 88 % of the std."""
    torch.manual_seed(seed)
    backbone = AlexNet(ModelConfig(width=0.25), 64)
    for name in LAYERS:
        weight = (backbone.get_submodule(name).conv if name in CONV_LAYERS else backbone.get_submodule(name)[0]).weight
        sigma = 0.01 if name in CONV_LAYERS else 0.005
        assert weight.abs().max() <= 2 * sigma
        assert weight.std().item() == pytest.approx(0.8796 * sigma, rel=0.03)


# Features


def test_the_output_is_fc7_and_colors_are_normalized_inside(generator):
    backbone = randomize(AlexNet(SMALL, 32), generator)
    images = torch.rand(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), backbone.features(images)["fc7"])
        gray = torch.tensor(SMALL.mean).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        backbone.conv1.norm.reset_running_stats()
        nn.init.zeros_(backbone.conv1.norm.bias)
        assert backbone.features(gray, ("conv1",))["conv1"].abs().max() < 1e-5, "the mean color is normalized to zero"


def test_only_requested_layers_are_returned_in_the_order_of_the_network(generator):
    backbone = randomize(AlexNet(SMALL, 32), generator)
    images = torch.rand(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        features = backbone.features(images)
        some = backbone.features(images, ["conv4", "conv1"])
        backbone.conv5, backbone.fc6, backbone.fc7 = (
            None,
            None,
            None,
        )  # layers after the last requested one are not needed
        assert list(backbone.features(images, ("conv4",))) == ["conv4"]
    assert list(some) == ["conv1", "conv4"]
    for name, activations in some.items():
        assert torch.equal(activations, features[name])


@pytest.mark.parametrize("names", [(), ("conv6",), ("fc7", "logits"), ("pool5",)])
def test_an_unknown_layer_is_refused_with_a_list_of_layers(names):
    with pytest.raises(
        CodialError,
        match=r"^Layers are \[.*\]; expected some of conv1, conv2, .*, fc7, .* of this AlexNet\.$",
    ):
        AlexNet(SMALL, 32).features(torch.zeros(1, 3, 32, 32), names)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 32, 32), (3, 32, 32), (1, 3, 32, 33)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(CodialError, match=r"^Images are \[.*\]; this backbone takes \[B, 3, 32, 32\]\.$"):
        AlexNet(SMALL, 32)(torch.zeros(shape))


def test_full_resolution_refuses_small_images():
    config = ModelConfig(width=0.05, resolution="full")
    AlexNet(config, 63)
    for size in (16, 32, 62):
        with pytest.raises(CodialError, match=rf"^views.size is {size}; resolution 'full' needs at least 63 pixels"):
            AlexNet(config, size)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.37, 1.0, 1.5])
def test_channels_are_multiples_of_eight_for_any_width(width):
    with torch.device("meta"):
        backbone = AlexNet(ModelConfig(width=width), 16)
    for full, name in zip((96, 256, 384, 384, 256), CONV_LAYERS, strict=True):
        channels = getattr(backbone, name).conv.out_channels
        assert channels % 8 == 0
        assert abs(channels - full * width) <= 4 or channels == 8
    assert backbone(torch.zeros(2, 3, 16, 16, device="meta")).shape == (2, backbone.feature_dim)
