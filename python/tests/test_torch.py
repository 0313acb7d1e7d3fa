"""Every operator in PyTorch: values, gradients, layouts, types, memory, transforms."""

import copy
import gc
import json
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from cases import LAYOUTS, LENGTHS, MORE, NAMES, RANKED, SOURCE, STRAIGHT_THROUGH, keys_of, map_of, parameters_of

import tidepool.torch as tp
from tidepool import _core
from tidepool._registry import descriptions, operator
from tidepool.run import read_safetensors
from tidepool.torch import _ops, functional

GOLDEN = SOURCE / "tests" / "golden"


def golden_cases():
    for path in sorted(GOLDEN.glob("ops_*.safetensors")):
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        for case, text in sorted(header["__metadata__"].items()):
            if f"{case}/x" in header:
                yield path.stem[4:], case, json.loads(text)["config"]


@pytest.mark.parametrize("name, case, config", list(golden_cases()), ids=lambda v: v if isinstance(v, str) else "")
def test_golden_values_through_functional_and_through_both_backwards(name, case, config):
    stored = {k.split("/", 1)[1]: torch.from_numpy(v.copy()) for k, v in golden(name).items() if k.startswith(case + "/")}
    x, dy = stored["x"].requires_grad_(), stored["dy"]
    known = descriptions()[name].parameters
    parameters = {p: stored[p].reshape(-1) if stored[p].dim() == 0 else stored[p] for p in known if p in stored}
    leaves = {p: t.requires_grad_() for p, t in parameters.items() if f"d_{p}" in stored}
    call = getattr(functional, f"{descriptions()[name].function_name}{x.dim() - 2}d")
    y = call(x, parameters=parameters, **config)
    y.backward(dy)
    assert torch.allclose(y, stored["y"], rtol=1e-10, atol=1e-10)
    assert torch.allclose(x.grad, stored["dx"], rtol=1e-10, atol=1e-10)
    keys = keys_of(name, config)
    pure = _ops.BACKWARDS[name](
        dy, x.detach(), [p.detach() for p in parameters.values()], None, keys, False, [True] + [p in leaves for p in parameters]
    )
    assert torch.equal(pure[0], x.grad)
    for gradient, (p, leaf) in zip(pure[1:], leaves.items()):
        assert torch.allclose(leaf.grad, stored[f"d_{p}"].reshape(leaf.shape), rtol=1e-9, atol=1e-10)
        assert torch.equal(gradient, leaf.grad)


def golden(name, files={}):
    if name not in files:
        files[name] = read_safetensors(GOLDEN / f"ops_{name}.safetensors")
    return files[name]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name, rank", RANKED)
def test_gradcheck(name, rank, layout):
    for more in [None, *(MORE.get(name, []) if rank == 2 else [])]:
        keys = keys_of(name, more)
        x = map_of([2, 2, *LENGTHS[rank]], layout).requires_grad_()
        parameters = parameters_of(name, keys, x)
        if name not in STRAIGHT_THROUGH:
            parameters = [p.requires_grad_() for p in parameters]
        assert torch.autograd.gradcheck(
            lambda x, *p: _ops.OPERATORS[name](x, list(p), None, keys, False), (x, *parameters), fast_mode=True
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name, rank", RANKED)
def test_opcheck(name, rank, layout):
    keys = keys_of(name)
    x = map_of([2, 2, *LENGTHS[rank]], layout, torch.float32).requires_grad_()
    parameters = [p.requires_grad_() for p in parameters_of(name, keys, x)]
    seed = torch.tensor(5)
    torch.library.opcheck(_ops.OPERATORS[name], (x, parameters, seed, keys, False))
    needs = [True] * (1 + len(parameters))
    dy = torch.randn_like(_ops.OPERATORS[name](x, parameters, seed, keys, False)).detach()
    torch.library.opcheck(
        _ops.BACKWARDS[name],
        (dy, x.detach(), [p.detach() for p in parameters], seed, keys, False, needs),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_types_layouts_and_views_agree(name):
    rank = 2 if 2 in descriptions()[name].ranks else 1
    keys = keys_of(name)
    shape = [2, 3, *LENGTHS[rank]]
    plain = map_of(shape)
    parameters = parameters_of(name, keys, plain)
    op = _ops.OPERATORS[name]
    expected = op(plain, parameters, None, keys, False)

    def check(x, tolerance):
        x = x.detach().requires_grad_()
        y = op(x, [p.to(torch.float64 if x.dtype == torch.float64 else torch.float32) for p in parameters], None, keys, False)
        assert y.dtype == x.dtype and y.shape == expected.shape
        assert torch.allclose(y.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
        (dx,) = torch.autograd.grad(y.double().sum(), x)
        assert dx.shape == x.shape and dx.dtype == x.dtype
        return y

    last = plain.contiguous(memory_format=torch.channels_last) if rank == 2 else plain
    y = check(last, 1e-12)
    if rank == 2 and y.dim() == 4 and min(y.shape[1:]) > 1:
        assert y.is_contiguous(memory_format=torch.channels_last)
    assert check(plain, 0).is_contiguous()
    wide = torch.zeros([*shape[:-1], 2 * shape[-1]], dtype=torch.float64)
    wide[..., ::2] = plain
    check(wide[..., ::2], 1e-12)
    check(plain.transpose(0, 1).contiguous().transpose(0, 1), 1e-12)
    check(plain.flip(-1).flip(-1), 1e-12)
    check(plain.float(), 2e-5)
    coarse = plain.bfloat16()
    exact = op(coarse.double(), parameters, None, keys, False)
    y = op(coarse, [p.float() for p in parameters], None, keys, False)
    assert torch.allclose(y.double(), exact, rtol=2e-2, atol=2e-2 * exact.abs().max().item())


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_and_missing_batch_axis(name):
    rank = 2 if 2 in descriptions()[name].ranks else 1
    module = tp.make_module(name, rank, **json.loads(keys_of(name))).eval()
    x = torch.randn([2, 3, *LENGTHS[rank]])
    full = module(x)
    empty = torch.zeros([0, *x.shape[1:]], requires_grad=True)
    y = module(empty)
    assert y.shape == (0, *full.shape[1:])
    y.sum().backward()
    assert empty.grad.shape == empty.shape
    assert torch.equal(module(x[1]), full[1]) or torch.allclose(module(x[1]), full[1], rtol=1e-5, atol=1e-6)


def test_as_torchs_own():
    x = torch.randn(2, 3, 9, 8)
    for k, s, p, ceil in ((2, 2, 0, False), (3, 2, 1, False), (3, 2, 1, True), (2, 1, 0, False)):
        keys = dict(kernel=k, stride=s, padding=p, ceil_mode=ceil)
        assert torch.equal(functional.max_pool2d(x, **keys), F.max_pool2d(x, k, s, p, ceil_mode=ceil))
        assert torch.allclose(functional.avg_pool2d(x, **keys), F.avg_pool2d(x, k, s, p, ceil_mode=ceil), atol=1e-6)
    assert torch.equal(functional.max_pool2d(x, 2), functional.max_pool2d(x, kernel=2))
    assert torch.allclose(functional.adaptive_avg_pool2d(x, 3), F.adaptive_avg_pool2d(x, 3), atol=1e-6)


def test_no_copy_of_x_and_of_y():
    x = torch.randn(4, 16, 64, 64)
    held = _core.live_bytes()
    y = functional.avg_pool2d(x, 2)
    assert _core.live_bytes() - held <= y.numel() * 4 * 1.3
    del y
    gc.collect()
    assert _core.live_bytes() == held


@pytest.mark.parametrize("name, kept", [("max", 0.25), ("avg", 0.0), ("soft", 0.0)])
def test_what_is_kept_for_the_backward(name, kept):
    """max keeps an index a byte per output; x is not held by those that do not need it, and never copied."""
    x = torch.randn(4, 16, 64, 64, requires_grad=True)
    held = _core.live_bytes()
    y = _ops.OPERATORS[name](x, [], None, '{"kernel": 2}', False)
    size = y.numel() * 4
    assert (_core.live_bytes() - held) / x.numel() <= 1 + kept + 0.2  # y is one byte per element of x
    saved = [t for t in y.grad_fn.saved_tensors if t is not None and t.numel() > 1]
    assert bool(saved) == (name == "soft")
    torch.autograd.grad(y.sum(), x)
    del saved
    assert (_core.live_bytes() - held) <= size * 1.3  # dropped with the backward, though y still lives


def test_repeated_and_double_backward():
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    y = functional.soft_pool2d(x, 2)
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    second = torch.autograd.grad(y.sum(), x)[0]
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(y.sum(), x)
    # Whether the gradient of y needs a gradient itself or not: the second derivative would miss the operator's part.
    for loss in (functional.soft_pool2d(x, 2).square().sum(), functional.soft_pool2d(x, 2).sum() + x.square().sum()):
        with pytest.raises(RuntimeError, match="can be differentiated once"):
            torch.autograd.grad(loss, x, create_graph=True)


def test_forward_mode_is_refused():
    from torch.autograd import forward_ad

    x = torch.randn(1, 2, 6, 6)
    with forward_ad.dual_level():
        functional.soft_pool2d(x, 2)
        with pytest.raises(NotImplementedError, match="soft.*forward-mode"):
            functional.soft_pool2d(forward_ad.make_dual(x, x), 2)


def test_writing_between_forward_and_backward_is_noticed():
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    z = x * 1
    y = functional.soft_pool2d(z, 2)
    z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    z = x * 1
    functional.max_pool2d(z, 2).sum().backward()  # keeps the winners alone
    z = x * 1
    y = functional.max_pool2d(z, 2)
    z.add_(1)
    y.sum().backward()
    y = functional.soft_pool2d(x, 2)
    y.mul_(0)  # y is nobody else's
    y.sum().backward()


@pytest.mark.parametrize("name", ["stochastic", "s3", "fractional_max", "mixed"])
def test_draws_follow_torchs_seed(name):
    keys = {"random": True} if name == "mixed" else {}
    module = tp.make_module(name, 2, **keys)
    x = torch.rand(2, 4, 13, 11)

    def draw():
        return [module(x) for _ in range(12)]

    torch.manual_seed(1)
    first = draw()
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first, draw()))
    assert any(not torch.equal(a, first[0]) for a in first)
    module.eval()
    state = torch.get_rng_state()
    assert torch.equal(module(x), module(x))
    assert torch.equal(state, torch.get_rng_state())
    call = getattr(functional, f"{descriptions()[name].function_name}2d")
    assert torch.equal(call(x, training=True, seed=3, **keys), call(x, training=True, seed=3, **keys))
    z = x.clone().requires_grad_()  # the backward has the forward's draws
    torch.manual_seed(2)
    y = module.train()(z)
    torch.manual_seed(9)
    dy = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, z, dy)
    # With its draws held, y(t x) = t y(x): Euler's identity holds for no others.
    assert torch.allclose((dx * z).sum(), (dy * y).sum(), rtol=1e-3, atol=1e-4)


def test_fractional_max_as_torchs_with_its_own_draws():
    x, u = torch.randn(2, 3, 9, 13), torch.rand(2, 3, 2)
    y = functional.fractional_max_pool2d(x, output_size=[4, 6], parameters={"u": u})
    assert torch.equal(y, F.fractional_max_pool2d(x, 2, (4, 6), _random_samples=u.flip(-1)))  # torch has the width first


def test_parameters_are_modules_parameters():
    assert [n for n, _ in tp.AdaPool2d().named_parameters()] == ["logit"]
    assert tp.GeMPool2d(learned=True).p.shape == (1,)
    per_channel = tp.GeMPool2d(learned=True, per="channel", in_channels=5)
    assert per_channel.p.shape == (5,)
    lip = tp.LIPPool2d(logit="bottleneck", in_channels=8)
    names = [n for n, _ in lip.named_parameters()]
    assert "logit.conv1.weight" in names
    assert set(lip.state_dict()) == set(names)
    again = tp.LIPPool2d(logit="bottleneck", in_channels=8)
    assert not torch.equal(lip.logit.conv1.weight, again.logit.conv1.weight)
    again.load_state_dict(lip.state_dict(), strict=True)
    x = torch.randn(2, 8, 8, 8)
    assert torch.equal(lip(x), again(x))
    torch.manual_seed(7)
    a = tp.ConvPool2d(in_channels=4)
    torch.manual_seed(7)
    assert torch.equal(a.weight, tp.ConvPool2d(in_channels=4).weight)
    with pytest.raises(RuntimeError, match="logit.conv1.weight"):
        tp.LIPPool2d(logit="bottleneck", in_channels=8).load_state_dict(tp.SoftPool2d().state_dict())
    assert tp.SoftPool2d(dtype=torch.float64) is not None and tp.DynOPool2d(dtype=torch.float64).alpha.dtype == torch.float64


def test_lazy_parameters():
    module = tp.ConvPool2d()
    assert isinstance(module.weight, torch.nn.UninitializedParameter)
    y = module(torch.randn(1, 4, 8, 8))
    assert module.weight.shape[1] == 4 and y.shape == (1, 4, 4, 4)
    fresh = tp.ConvPool2d()
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh.weight, module.weight)
    assert copy.deepcopy(module)(torch.zeros(1, 4, 8, 8)).shape == y.shape


def test_state_of_parameters_that_wait():
    """As torch.nn.LazyConv2d's; and a module with a part of them loaded makes the rest."""
    for pool in (tp.ConvPool2d(), tp.LIPPool2d(logit="bottleneck")):
        assert set(pool.state_dict()) == set(pool.parameter_names)
    pool = tp.LIPPool2d(kernel=2, logit="bottleneck")
    made = tp.LIPPool2d(kernel=2, logit="bottleneck", in_channels=4)
    name = made.parameter_names[0]
    pool.load_state_dict({name: made.state_dict()[name]}, strict=False)
    pool(torch.randn(1, 4, 8, 8))
    assert torch.equal(pool.state_dict()[name], made.state_dict()[name])


def test_kernels_with_large_dilations():
    x = torch.randn(1, 2, 400, 400)
    assert torch.equal(tp.MaxPool2d(kernel=20, stride=1, dilation=20)(x), torch.nn.functional.max_pool2d(x, 20, 1, 0, 20))
    assert tp.SoftPool2d(kernel=20, dilation=20)(x).shape[2] == 1
    assert tp.LIPPool2d(kernel=20, dilation=20)(x).shape[2] == 1


def test_buffers_are_saved():
    pool = tp.DynOPool2d()
    alpha = pool.alpha.detach() * 1.5
    del pool.alpha
    pool.register_buffer("alpha", alpha)
    assert torch.equal(pool.state_dict()["alpha"], alpha)
    pool.load_state_dict(pool.state_dict())


def test_parameters_have_the_device_and_the_type_that_are_asked_for():
    for module in (tp.DynOPool2d(device="meta"), tp.ConvPool2d(in_channels=4, device="meta")):
        assert {p.device.type for p in module.parameters()} == {"meta"}
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, device="meta"), torch.nn.MaxPool2d(2))
    assert {p.device.type for p in tp.replace_pooling(model, "dynopool").parameters()} == {"meta"}
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert tp.DynOPool2d(dtype=dtype).alpha.dtype == dtype
    with pytest.raises(TypeError, match="dtype: expected float32"):
        tp.DynOPool2d(dtype=torch.int32)


def test_modules_are_copied_and_pickled():
    x = torch.randn(2, 3, 8, 8)
    for module in (tp.SoftPool2d(3, 2, 1), tp.DynOPool2d(r=0.4), tp.LIPPool2d(logit="bottleneck", in_channels=3)):
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert type(other) is type(module) and repr(other) == repr(module)
            assert torch.equal(other(x), module(x))
    assert repr(tp.SoftPool2d(3, stride=2)) == "SoftPool2d(kernel=3, stride=2)"


def test_parameters_return_to_their_range_in_training():
    module = tp.DynOPool2d(r_min=0.25, r_max=1)
    with torch.no_grad():
        module.alpha.fill_(100.0)
    module(torch.randn(1, 2, 16, 16))
    assert torch.equal(module.alpha.detach(), torch.full((2,), 4.0))


def test_learned_sizes_train():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), tp.DynOPool2d(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x, before = torch.randn(8, 3, 16, 16), model[1].alpha.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    assert not torch.equal(before, model[1].alpha)


def test_determinism_and_threads():
    x = torch.randn(8, 16, 40, 40)
    results = []
    count = torch.get_num_threads()
    for threads in (1, count):
        torch.set_num_threads(threads)
        z = x.clone().requires_grad_()
        y = functional.soft_pool2d(z, kernel=3, stride=2)
        y.square().sum().backward()
        results.append((y.detach(), z.grad))
        assert _core.threads() == threads
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_one_openmp_library():
    with open("/proc/self/maps") as file:
        libraries = {line.split()[-1] for line in file if "libgomp" in line}
    assert len(libraries) == 1, libraries


def test_calls_from_many_threads():
    module, x = tp.SoftPool2d(), torch.randn(4, 8, 32, 32)
    z = x.clone().requires_grad_()
    module(z).square().sum().backward()
    wrong = []

    def work():
        for _ in range(20):
            a = x.clone().requires_grad_()
            module(a).square().sum().backward()
            if not torch.equal(a.grad, z.grad):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_checkpoint_and_saved_tensor_hooks():
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    expected = torch.autograd.grad(functional.soft_pool2d(x, 2).square().sum(), x)[0]
    for reentrant in (False, True):
        y = torch.utils.checkpoint.checkpoint(lambda t: functional.soft_pool2d(t, 2), x, use_reentrant=reentrant)
        assert torch.equal(torch.autograd.grad(y.square().sum(), x)[0] if not reentrant else backward(y, x), expected)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = functional.soft_pool2d(x, 2)
    with pytest.raises(RuntimeError, match="state of this forward is gone"):
        y.sum().backward()


def backward(y, x):
    x.grad = None
    y.square().sum().backward()
    return x.grad


def test_autocast_and_data_parallel():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), tp.GeMPool2d(learned=True), tp.DynOPool2d())
    x = torch.randn(2, 3, 16, 16).abs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
        assert y.dtype == torch.bfloat16
        y.float().sum().backward()
    assert model[1].p.grad is not None and model[1].p.grad.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.float16):  # the type of autocast on a GPU, unless asked otherwise
        y = model(x)
        assert y.dtype == torch.float16
        y.float().sum().backward()
    with pytest.raises(TypeError, match="float16"):
        functional.soft_pool2d(x.half(), 2)
    assert torch.equal(torch.nn.DataParallel(model)(x), model(x))
    replica = model[1]._replicate_for_data_parallel()  # as on a card: its tensors are no parameters
    replica._parameters, replica.p = {}, model[1].p * 1
    h = model[0](x)
    assert torch.equal(replica(h), model[1](h))


def test_exchange_interface_and_plain_dlpack_agree():
    x = torch.randn(2, 3, 8, 8)
    expected = functional.soft_pool2d(x, 2)
    try:
        _core.use_torch(torch.Tensor, None)
        y = functional.soft_pool2d(x, 2)
    finally:
        _core.use_torch(torch.Tensor, getattr(torch.Tensor, "__dlpack_c_exchange_api__", None))
    assert isinstance(y, torch.Tensor) and torch.equal(y, expected)


def test_conjugate_and_negative_views():
    z = torch.randn(1, 2, 4, 4, dtype=torch.complex64).conj()
    assert z.imag.is_neg()
    assert torch.equal(functional.max_pool2d(z.imag, 2), F.max_pool2d(z.imag.clone(), 2))


def test_registry_and_module_agree():
    assert len(tp.modules.__all__) == len(RANKED) == len(functional.__all__)
    for name in NAMES:
        assert operator(name, keys_of(name)).name == name
    text = tp.SoftPool2d.__doc__
    assert "kernel (integer or one per axis" in text and "Stergiou" in text
