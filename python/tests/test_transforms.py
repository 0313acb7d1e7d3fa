"""torch.compile, torch.export and torch.func."""

import pytest
import torch
from cases import LENGTHS, NAMES, keys_of, map_of, parameters_of

import tidepool.torch as tp
from tidepool._registry import descriptions
from tidepool.torch import _ops, functional


def small_model(pool):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), pool, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )


def gradients(model, x):
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(None if p.grad is None else p.grad.clone() for p in model.parameters())]


def expect_alike(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b):
        assert (one is None) == (other is None) and (one is None or torch.allclose(one, other, rtol=1e-4, atol=1e-5))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_whole_forward_and_backward(name):
    """Every operator, in one graph without a break, with sizes that were learned among them."""
    if 2 not in descriptions()[name].ranks:
        pytest.skip("no 2-D")
    torch._dynamo.reset()
    from json import loads

    model = small_model(tp.make_module(name, 2, **loads(keys_of(name))))
    if name in ("spp",):
        model = model[:3]
    x = torch.randn(2, 3, 16, 16)
    model(x)
    model.eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    expect_alike(gradients(compiled, x), gradients(model, x))


@pytest.mark.parametrize("name, keys", [("soft", {}), ("dynopool", {}), ("stochastic", {}), ("max", {"kernel": 3, "stride": 2})])
def test_inductor(name, keys):
    torch._dynamo.reset()
    model = small_model(tp.make_module(name, 2, **keys))
    if name == "stochastic":
        model.eval()
    x = torch.randn(2, 3, 16, 16)
    compiled = torch.compile(model, fullgraph=True)
    expect_alike(gradients(compiled, x), gradients(model, x))


def test_learned_sizes_change_without_compiling_again():
    torch._dynamo.reset()
    pool = tp.DynOPool2d()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(lambda x: pool(x) * 2, backend=counter, fullgraph=True)
    x = torch.randn(1, 2, 16, 16)
    for alpha, length in ((2.0, 8), (4.0, 4), (1.0, 16)):
        with torch.no_grad():
            pool.alpha.fill_(alpha)
        assert compiled(x).shape == (1, 2, length, length)
    assert counter.frame_count == 1


def test_dynamic_lengths_do_not_specialise():
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    call = torch.compile(
        lambda x: functional.soft_pool2d(x, kernel=3, stride=2, padding=1), backend=counter, fullgraph=True, dynamic=True
    )
    for n in (16, 17, 31, 64):
        x = torch.randn(2, 3, n, n + 3)
        assert torch.equal(call(x), functional.soft_pool2d(x, kernel=3, stride=2, padding=1))
    assert counter.frame_count == 1


def test_training_draws_in_a_compiled_graph():
    torch._dynamo.reset()
    pool = tp.StochasticPool2d()
    compiled = torch.compile(lambda x: pool(x), backend="aot_eager", fullgraph=True)
    x = torch.rand(2, 3, 16, 16)
    torch.manual_seed(3)
    a, b = compiled(x), compiled(x)
    torch.manual_seed(3)
    assert torch.equal(compiled(x), a) and not torch.equal(a, b)


@pytest.mark.parametrize("name", ["soft", "dynopool", "gem"])
def test_exported(name, tmp_path):
    model = small_model(tp.make_module(name, 2, **({"learned": True} if name == "gem" else {}))).eval()
    x = torch.randn(2, 3, 16, 16)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    assert f"tidepool.{name}" in str(program.graph)
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for n in (2, 5):
        x = torch.randn(n, 3, 16, 16)
        assert torch.allclose(loaded(x), model(x), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_vmap(name):
    rank = 2 if 2 in descriptions()[name].ranks else 1
    keys = keys_of(name)
    x = map_of([3, 2, 4, *LENGTHS[rank]], dtype=torch.float64)
    parameters = parameters_of(name, keys, x[0])
    call = getattr(functional, f"{descriptions()[name].function_name}{rank}d")
    op = _ops.OPERATORS[name]
    expected = torch.stack([op(each, parameters, None, keys, False) for each in x])
    through_op = torch.vmap(lambda t: op(t, parameters, None, keys, False))(x)
    assert torch.equal(through_op, expected)
    from json import loads

    values = dict(zip(descriptions()[name].parameters, parameters))
    through_functional = torch.vmap(lambda t: call(t, parameters=values, **loads(keys)), in_dims=1, out_dims=1)(
        x.transpose(0, 1)
    )
    assert torch.allclose(through_functional, expected.transpose(0, 1), rtol=1e-12, atol=1e-12)


def test_gradients_per_sample():
    x, p = torch.rand(4, 2, 3, 8, 8, dtype=torch.float64) + 0.5, torch.tensor([3.0], dtype=torch.float64)

    def loss(p, x):
        return functional.gem_pool2d(x, learned=True, parameters={"p": p}).square().sum()

    dp, dx = torch.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 0))(p, x)
    for i in range(4):
        a, b = p.clone().requires_grad_(), x[i].clone().requires_grad_()
        loss(a, b).backward()
        assert torch.allclose(dp[i], a.grad) and torch.allclose(dx[i], b.grad)
    jacobian = torch.func.jacrev(lambda t: functional.max_pool2d(t, 2))(x[0, :1, :1, :4, :4])
    assert jacobian.shape == (1, 1, 2, 2, 1, 1, 4, 4) and jacobian.sum() == 4


def test_second_derivatives_are_refused():
    def f(q):
        return functional.soft_pool2d(q, 2).square().sum()

    def twice(q):
        return torch.func.grad(f)(q).square().sum()

    x = torch.randn(1, 2, 4, 4)
    calls = [(torch.func.grad(twice), x), (torch.func.jacrev(torch.func.jacrev(f)), x)]
    for call, q in (*calls, (torch.func.vmap(torch.func.grad(twice)), x[None])):
        with pytest.raises(RuntimeError, match="can be differentiated once"):
            call(q)
    assert torch.allclose(torch.func.jacrev(f)(x), torch.func.grad(f)(x))


def test_compiled_with_parameters_in_channels_last():
    torch._dynamo.reset()
    pool = tp.ConvPool2d(in_channels=4).to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last)
    compiled = torch.compile(pool)
    expect_alike(gradients(compiled, x), gradients(pool, x))


def test_draws_under_vmap():
    x = torch.rand(3, 2, 4, 8, 8)
    call = lambda t: functional.stochastic_pool2d(t, training=True)  # noqa: E731
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(call)(x)
    same = torch.vmap(call, randomness="same")(x[:1].expand(3, -1, -1, -1, -1))
    assert torch.equal(same[0], same[1])
    different = torch.vmap(call, randomness="different")(x[:1].expand(3, -1, -1, -1, -1))
    assert not torch.equal(different[0], different[1])


def test_lengths_behind_long_steps_are_no_constants():
    torch._dynamo.reset()

    def mean_of_means(x):
        y = functional.avg_pool1d(x, kernel=200, stride=200)
        return y.sum(-1) / y.shape[-1]

    compiled = torch.compile(mean_of_means, dynamic=True, backend="aot_eager")
    assert torch.equal(compiled(torch.ones(1, 2, 600)), torch.ones(1, 2))


@pytest.mark.parametrize(
    "name, keys, parameter, value",
    [("gem", {"learned": True}, "p", -1.0), ("dynopool", {"r_min": 0.25, "r_max": 1}, "alpha", 100.0)],
)
def test_parameters_return_to_their_range_in_compiled_training(name, keys, parameter, value):
    x, ends = torch.rand(1, 2, 16, 16) + 0.1, []
    for compiled in (False, True):
        torch._dynamo.reset()
        pool = tp.make_module(name, 2, **keys)
        learned = getattr(pool, parameter)
        with torch.no_grad():
            learned.fill_(value)
        y = (torch.compile(pool, backend="aot_eager", fullgraph=True) if compiled else pool)(x)
        y.square().sum().backward()
        assert learned.min() != value
        ends.append((y.detach(), learned.detach().clone(), learned.grad))
    expect_alike(*ends)


def test_keys_that_are_lengths_of_a_map_compile():
    torch._dynamo.reset()
    whole = torch.compile(lambda x: functional.avg_pool2d(x, kernel=x.shape[2:]), backend="aot_eager", fullgraph=True)
    scaled = torch.compile(lambda x, b: functional.soft_pool2d(x, beta=b), backend="aot_eager", fullgraph=True)
    for n in (8, 12, 16):
        x = torch.randn(1, 2, n, n)
        assert torch.allclose(whole(x), x.mean((2, 3), keepdim=True), atol=1e-6)
        assert torch.equal(scaled(x, n / 10), functional.soft_pool2d(x, beta=n / 10))


def test_fx_takes_a_module_as_a_leaf():
    for name in ("soft", "dynopool"):
        model = small_model(tp.make_module(name, 2)).eval()
        traced = torch.fx.symbolic_trace(model)
        x = torch.randn(2, 3, 8, 8)
        assert torch.equal(traced(x), model(x))
        assert any(n.op == "call_module" and n.target == "2" for n in traced.graph.nodes)


def test_a_batch_of_gradients_is_refused():
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    y = functional.soft_pool2d(x)
    with pytest.raises(RuntimeError, match="batch of gradients.*torch.func.jacrev"):
        torch.autograd.grad(y, x, torch.randn(5, *y.shape), is_grads_batched=True)
