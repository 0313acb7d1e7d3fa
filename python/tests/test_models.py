"""replace_pooling and gmacs_penalty on torchvision's models."""

import copy
import json
import subprocess

import pytest
import torch
from torch import nn

import tidepool.torch as tp
from tidepool.run import program

models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize(
    "name, layers", [("vgg11", 5), ("resnet18", 1), ("densenet121", 4), ("squeezenet1_1", 3), ("googlenet", 13), ("alexnet", 3)]
)
def test_replace_pooling_in_torchvision(name, layers):
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = getattr(models, name)(weights=None, **extra).eval()
    x = torch.randn(1, 3, 64, 64)
    shapes = {}
    with torch.no_grad():
        y = model(x)
        changed = tp.replace_pooling(model, "soft")
        assert changed is model
        pools = [m for m in model.modules() if isinstance(m, tp.PoolModule)]
        assert len(pools) == layers and all(not m.training for m in pools), (len(pools), shapes)
        z = model(x)
    assert y.shape == z.shape and not torch.equal(y, z)


def test_the_same_operator_gives_the_same_numbers():
    torch.manual_seed(0)
    model = models.vgg11(weights=None).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        y = model(x)
        assert torch.equal(tp.replace_pooling(model, "max")(x), y)
        names = set(model.state_dict())
    assert names == set(models.vgg11(weights=None).state_dict())


def test_learned_sizes_and_choices():
    model = tp.replace_pooling(models.resnet18(weights=None), "dynopool", r_max=1.5)
    assert isinstance(model.maxpool, tp.DynOPool2d) and torch.equal(model.maxpool.alpha.detach(), torch.tensor([2.0, 2.0]))
    vgg = models.vgg11(weights=None)
    tp.replace_pooling(vgg, "soft", where=lambda name, layer: name == "features.2")
    assert isinstance(vgg.features[2], tp.SoftPool2d) and isinstance(vgg.features[5], nn.MaxPool2d)
    assert isinstance(tp.replace_pooling(nn.MaxPool1d(3, 2), "lip"), tp.LIPPool1d)
    assert "kernel=3, padding=1, stride=2" in repr(tp.replace_pooling(nn.MaxPool2d(3, 2, 1), "soft"))


def test_gmacs_are_counted_as_the_program_counts_them():
    model = models.resnet18(weights=None).eval()
    penalty = tp.gmacs_penalty(model)
    with torch.no_grad():
        model(torch.zeros(2, 3, 224, 224))
    command = [program(), "info", "imagenet_resnet18.json", "--set", "data.name=random", "--set", "data.size=224", "--set",
               "data.classes=1000", "--json"]  # fmt: skip
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert penalty().item() == pytest.approx(answer["macs"] / 1e9, rel=1e-7)
    penalty.close()
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_gmacs_have_a_gradient_through_rounding():
    """Of a chain whose lengths divide exactly: d gmacs / d alpha of n / alpha, times what follows."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), tp.DynOPool2d(), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.MaxPool2d(2), nn.Conv2d(5, 6, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 7)
    )  # fmt: skip
    penalty = tp.gmacs_penalty(model)
    model(torch.randn(2, 3, 16, 32))
    gmacs = penalty()
    assert gmacs.item() * 1e9 == pytest.approx(16 * 32 * 12 + 8 * 16 * 20 + 4 * 8 * 30 + 42)
    gmacs.backward()
    # straight through: lengths are 16 / a and 32 / b behind the pool, half of that behind the next
    variable = 8 * 16 * 20 + 4 * 8 * 30
    for got in model[1].alpha.grad:
        assert got.item() * 1e9 == pytest.approx(-variable / 2)


@pytest.mark.parametrize(
    "fixed",
    [
        tp.GlobalAvgPool2d(),
        tp.AdaptiveAvgPool2d(output_size=2),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.AdaptiveMaxPool2d(2),
        torch.nn.Upsample(size=(8, 8)),
    ],
)
def test_behind_a_stated_size_gmacs_do_not_depend_on_learned_ones(fixed):
    model = torch.nn.Sequential(tp.DynOPool2d(), fixed, torch.nn.Conv2d(3, 100, 1))
    penalty = tp.gmacs_penalty(model)
    model(torch.randn(1, 3, 16, 16))
    gmacs = penalty()
    if gmacs.requires_grad:
        gmacs.backward()
    assert model[0].alpha.grad is None or torch.equal(model[0].alpha.grad, torch.zeros(2))


class Means(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3), keepdim=True)


class WholePool(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, x.shape[2:])


@pytest.mark.parametrize("whole", [Means(), WholePool(), torch.nn.AvgPool2d(8)])
def test_behind_a_mean_of_the_whole_map_gmacs_do_not_depend_on_learned_sizes(whole):
    model = torch.nn.Sequential(tp.DynOPool2d(), whole, torch.nn.Conv2d(3, 100, 1))
    penalty = tp.gmacs_penalty(model)
    model(torch.randn(1, 3, 16, 16))
    assert penalty().item() * 1e9 == pytest.approx(300)
    assert not penalty().requires_grad


@pytest.mark.parametrize("order", [0, 1])
def test_gmacs_follow_a_map_that_joins_one_of_a_stated_size(order):
    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.deep, self.out = tp.DynOPool2d(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 5, 1)

        def forward(self, x):
            skip = self.pool(x)
            up = torch.nn.functional.interpolate(self.deep(skip), size=skip.shape[2:])
            return self.out(torch.cat([(up, skip), (skip, up)][order], 1))

    model = Decoder()
    penalty = tp.gmacs_penalty(model)
    model(torch.randn(1, 3, 16, 32))
    penalty().backward()
    for got in model.pool.alpha.grad:
        assert got.item() * 1e9 == pytest.approx(-8 * 16 * 30 / 2)


def test_gmacs_of_linear_layers_on_maps_have_a_gradient_and_axes_keep_theirs():
    class Blocks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.mix, self.out = tp.DynOPool2d(), torch.nn.Linear(3, 7), torch.nn.Conv2d(7, 2, 1, stride=(2, 1))

        def forward(self, x):
            return self.out(self.mix(self.pool(x).permute(0, 2, 3, 1)).movedim(3, 1).transpose(2, 3))

    model = Blocks()
    penalty = tp.gmacs_penalty(model)
    model(torch.randn(1, 3, 16, 64))
    assert penalty().item() * 1e9 == pytest.approx(8 * 32 * 21 + 16 * 8 * 14)
    penalty().backward()
    for got in model.pool.alpha.grad:
        assert got.item() * 1e9 == pytest.approx(-(8 * 32 * 21 + 16 * 8 * 14) / 2)


class ByKeywords(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.weight = tp.DynOPool2d(), torch.nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x):
        return torch.nn.functional.conv2d(self.pool(x=x), weight=self.weight, padding=1)


def test_gmacs_of_a_model_that_calls_by_keywords_is_copied_and_in_bf16():
    model = ByKeywords()
    penalty = tp.gmacs_penalty(model)
    x = torch.randn(1, 3, 64, 64)
    model(x)
    expected = 32 * 32 * 4 * 27 / 1e9
    assert penalty().item() == pytest.approx(expected, rel=1e-6)
    copy.deepcopy(model)(x)
    model.bfloat16()(x.bfloat16())
    assert penalty().item() == pytest.approx(expected, rel=1e-6)


def test_one_block_for_two_strides_is_refused():
    with pytest.raises(ValueError, match="one block for all axes"):
        tp.replace_pooling(torch.nn.Sequential(torch.nn.MaxPool2d((2, 1))), "space_to_depth")


@pytest.mark.parametrize("layer, name", [(torch.nn.MaxPool2d(3, 2, ceil_mode=True), "s3"), (torch.nn.MaxPool2d(3, 2, dilation=2), "s3")])
def test_an_operator_that_cannot_do_what_the_layer_does_is_refused(layer, name):
    with pytest.raises(ValueError, match=f"{name} has no (ceil_mode|dilation)"):
        tp.replace_pooling(torch.nn.Sequential(layer), name)


@pytest.mark.parametrize("name", ["strip", "spp", "global_max", "global_avg"])
def test_an_operator_that_cannot_have_the_layers_stride_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} cannot be given the stride"):
        tp.replace_pooling(torch.nn.Sequential(torch.nn.MaxPool2d(4)), name)
