"""Swaps the pooling layers of a model."""

from torch import nn

from .._registry import describe, keys_text, operator
from .modules import PoolModule, make_module

__all__ = ["replace_pooling"]

_WINDOWS = {
    nn.MaxPool1d: 1,
    nn.MaxPool2d: 2,
    nn.MaxPool3d: 3,
    nn.AvgPool1d: 1,
    nn.AvgPool2d: 2,
    nn.AvgPool3d: 3,
}


def _per_axis(value, rank):
    return [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)] * rank


def _one(values):
    return values[0] if all(v == values[0] for v in values) else values


def _learns_its_size(description, rank, values):
    configured = operator(description.name, keys_text(description.name, description.bind((), values)))
    return any(kind == "shape" for _, _, kind in configured.parameters([1, 16] + [32] * rank))


def _keys_of(layer, rank, description, keys):
    """The operator's keys that do to a map's size what the layer does; those that the caller gave stay."""
    kernel, padding = _per_axis(layer.kernel_size, rank), _per_axis(layer.padding, rank)
    stride = _per_axis(layer.stride, rank)
    dilation = _per_axis(getattr(layer, "dilation", 1), rank)
    has = description.key_names
    values = {}

    def put(name, value, usual=None):
        if name in keys:
            return
        if name in has:
            values[name] = value
        elif usual is not None and value != usual:
            raise ValueError(f"replace_pooling: {description.name} has no {name}, and a layer has {value}")

    window = "kernel" in has and "padding" in has
    if window:
        put("kernel", _one(kernel))
        put("padding", _one(padding))
        put("dilation", _one(dilation), usual=1)
        put("ceil_mode", bool(layer.ceil_mode), usual=False)
        if "count_include_pad" in has and isinstance(layer, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)):
            put("count_include_pad", bool(layer.count_include_pad))
    put("stride", _one(stride))
    if "block" in has and "block" not in keys and _one(stride) is stride:
        raise ValueError(
            f"replace_pooling: {description.name} has one block for all axes, and a layer has the stride {stride}"
        )
    put("block", stride[0])
    share = [1 / s for s in stride]
    put("r", _one(share))
    if "output_size" not in keys:
        put("ratio", _one(share))
    values = {**values, **keys}
    sized = {"stride", "block", "r", "ratio", "output_size"} & set(values)
    if not sized and any(s != 1 for s in stride) and not _learns_its_size(description, rank, values):
        raise ValueError(f"replace_pooling: {description.name} cannot be given the stride {stride} of a layer")
    return values, window


def replace_pooling(model, operator, *, where=None, **keys):
    """Puts an operator in the place of every max and average pooling layer (nn.MaxPool1d to nn.AvgPool3d) of a model, which
    is changed and returned.

    Kernel, stride, padding, dilation and ceil_mode are the layer's, unless `keys` says otherwise; an operator that has no
    windows with padding (dynopool, spectral, max_blur, fractional_max) has the layer's stride alone, one that has no key
    for that but learns its size (shape_adaptor) its own. A layer of stride 1 changes no size and keeps its place unless
    the operator has windows.
    `where(name, layer)` chooses layers. Adaptive layers and calls of torch.nn.functional stay as they are. ValueError
    where nothing is replaced, or where a layer cannot be.

    >>> replace_pooling(torchvision.models.vgg16(), "soft")
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"replace_pooling: expected an nn.Module, got {type(model).__name__}")
    description = describe(operator)
    description.bind((), keys)
    made = {}
    device = next((p.device for p in model.parameters()), None)
    for name, layer in model.named_modules():
        rank = next((r for cls, r in _WINDOWS.items() if isinstance(layer, cls)), None)
        if rank is None or (where is not None and not where(name, layer)):
            continue
        if getattr(layer, "return_indices", False):
            raise ValueError(f"replace_pooling: {name or 'the model'} returns indices, which {operator} has not")
        if getattr(layer, "divisor_override", None) is not None:
            raise ValueError(f"replace_pooling: {name or 'the model'} has a divisor_override, which {operator} has not")
        values, window = _keys_of(layer, rank, description, keys)
        if not window and all(s == 1 for s in _per_axis(layer.stride, rank)):
            continue
        made[id(layer)] = make_module(operator, rank, device=device, **values).train(layer.training)
    if not made:
        raise ValueError("replace_pooling: the model has no max or average pooling layer that could be replaced")
    if id(model) in made:
        return made[id(model)]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in made and not isinstance(parent, PoolModule):
                parent._modules[name] = made[id(child)]
    return model
