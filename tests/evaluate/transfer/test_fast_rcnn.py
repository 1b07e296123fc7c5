"""Fast R-CNN: pooling of boxes, frozen parameters, losses and non-maximum suppression."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, cross_entropy
from torchvision.ops import nms

from codial.config import ModelConfig
from codial.evaluate.transfer.fast_rcnn import FastRcnn, fast_rcnn_losses, resize_image
from codial.evaluate.transfer.rescaling import rescale_layers
from codial.models import AlexNet, LabAlexNet, SobelAlexNet

KINDS = [(AlexNet, "low", 64), (AlexNet, "low", 48), (SobelAlexNet, "low", 64), (LabAlexNet, "low", 64)]


def detector(kind=AlexNet, resolution="low", size=64, classes=3):
    torch.manual_seed(3)
    return FastRcnn(
        kind(ModelConfig(width=0.1, resolution=resolution), size), classes, torch.Generator().manual_seed(4)
    )


@pytest.mark.parametrize(("kind", "resolution", "size"), KINDS)
def test_a_box_around_the_image_has_the_backbones_conv5(kind, resolution, size):
    net, image = detector(kind, resolution, size), torch.rand(3, 64, 64)
    backbone = kind(ModelConfig(width=0.1, resolution=resolution), 64).eval()
    net.backbone = backbone
    box = torch.tensor([[0.0, 0, 64, 64]])
    torch.testing.assert_close(net.windows(image, box), backbone.features(image[None], ("conv5",))["conv5"])
    torch.testing.assert_close(backbone.dense(net.windows(image, box)), backbone(image[None]))


@pytest.mark.parametrize("place", [(0, 0), (2, 1), (4, 3)])
def test_boxes_at_multiples_of_the_stride_are_exact_regions(place):
    net, image = detector(), torch.rand(3, 128, 160)
    column, row = place
    box = torch.tensor([[16.0 * column, 16 * row, 16 * column + 64, 16 * row + 64]])
    maps = net.backbone.maps(image[None])
    assert maps.shape[-2:] == (8, 10)
    assert net.backbone.grid()[0] == 16
    torch.testing.assert_close(net.windows(image, box), maps[..., row : row + 4, column : column + 4])


@pytest.mark.parametrize(
    ("x", "y", "cell"), [(100, 70, (0, 2)), (70, 100, (2, 0)), (118, 118, (3, 3)), (66, 66, (0, 0))]
)
def test_a_bright_spot_activates_its_cell(x, y, cell, monkeypatch):
    """The box [64, 128) has four cells per side; the maps are averages of 16 x 16 pixels."""
    net, image = detector(), torch.zeros(3, 160, 192)
    monkeypatch.setattr(net.backbone, "maps", lambda images, layer: avg_pool2d(images, 16))
    image[:, y : y + 8, x : x + 8] = 1
    window = net.windows(image, torch.tensor([[64.0, 64, 128, 128]]))[0].sum(0)
    assert divmod(int(window.argmax()), 4) == cell
    assert int((window > 0).sum()) == 1


def test_full_resolution_pools_to_the_input_size_of_fc6():
    net = detector(resolution="full", size=96)
    scores, offsets = net([torch.rand(3, 100, 130)], [torch.tensor([[3.0, 5, 90, 99], [40, 40, 44, 44]])])
    assert (scores.shape, offsets.shape) == ((2, 4), (2, 3, 4))


def test_images_of_a_batch_are_independent():
    net, images = detector(), [torch.rand(3, 96, 64), torch.rand(3, 70, 101)]
    boxes = [torch.tensor([[0.0, 0, 60, 60], [10, 20, 50, 90]]), torch.tensor([[5.0, 5, 90, 60]])]
    both = net(images, boxes)
    for i, rows in enumerate((slice(0, 2), slice(2, 3))):
        for part, whole in zip(net([images[i]], [boxes[i]]), both, strict=True):
            torch.testing.assert_close(part, whole[rows])


@pytest.mark.parametrize("kind", [AlexNet, LabAlexNet])
def test_conv1_and_statistics_are_frozen(kind):
    net, image, boxes = detector(kind), torch.rand(3, 64, 64), torch.tensor([[0.0, 0, 30, 40], [8, 8, 60, 60]])
    rescale_layers(net, [lambda: net([image], [boxes])])
    statistics = [m.running_mean.clone() for m in net.modules() if hasattr(m, "running_mean")]
    assert all(bool(values.abs().max() > 0) for values in statistics)
    scores, offsets = net([image], [boxes])
    sum(fast_rcnn_losses(scores, offsets, torch.tensor([0, 2]), torch.zeros(2, 4))).backward()
    still = {name for name, values in net.named_parameters() if values.grad is None}
    assert still == {name for name, _ in net.named_parameters() if ".conv1." in name}
    assert len(still) == 3 * (2 if kind is LabAlexNet else 1)
    after = [m.running_mean for m in net.modules() if hasattr(m, "running_mean")]
    assert all(torch.equal(a, b) for a, b in zip(statistics, after, strict=True))


def test_hand_computed_losses():
    scores, labels = torch.randn(4, 4), torch.tensor([0, 2, 0, 3])
    offsets, wanted = torch.zeros(4, 3, 4), torch.full((4, 4), 9.0)
    wanted[1] = torch.tensor([0.5, -0.5, 2, 0])  # 0.125 + 0.125 + 1.5
    wanted[3] = torch.tensor([0.0, 0, 0, 1])  # 0.5
    offsets[1, 1, 3] = 1  # of the true class: 0.5 more
    offsets[1, 0] = 7  # of another class: ignored
    first, second = fast_rcnn_losses(scores, offsets, labels, wanted)
    torch.testing.assert_close(first, cross_entropy(scores, labels))
    assert float(second) == pytest.approx((1.75 + 0.5 + 0.5) / 4)


def test_non_maximum_suppression_is_by_class(monkeypatch):
    net = detector(classes=2)
    boxes = torch.rand(60, 4, generator=torch.Generator().manual_seed(1)) * 40
    boxes[:, 2:] += boxes[:, :2] + 10
    scores = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(net, "forward", lambda images, boxes: (scores, torch.zeros(60, 2, 4)))
    found = net.detect(torch.zeros(3, 64, 64), boxes, threshold=0.3)
    inside, likely = boxes.clamp(0, 64), scores.softmax(1)
    for label in (0, 1):
        score = likely[:, 1 + label]
        kept = nms(inside, score, 0.3)
        kept = kept[score[kept] >= 0.3]
        torch.testing.assert_close(found.boxes[found.labels == label], inside[kept], atol=1e-4, rtol=0)
        torch.testing.assert_close(found.scores[found.labels == label], score[kept])
    few = net.detect(torch.zeros(3, 64, 64), boxes, threshold=0.3, limit=4)
    assert torch.equal(few.scores, found.scores[:4])
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    assert len(net.detect(torch.zeros(3, 64, 64), boxes[:0], threshold=0.3).boxes) == 0


@pytest.mark.parametrize(
    ("sides", "expected"), [((100, 200), (50, 100)), ((300, 100), (120, 40)), ((50, 50), (50, 50))]
)
def test_resize_image_sets_the_shorter_and_limits_the_longer_side(sides, expected):
    image, factor = resize_image(torch.full((3, *sides), 255, dtype=torch.uint8), 50, 120)
    assert tuple(image.shape[1:]) == expected
    assert factor.tolist() == pytest.approx([expected[1] / sides[1], expected[0] / sides[0]] * 2)
    assert float(image.min()) == pytest.approx(1)
