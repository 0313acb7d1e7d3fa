"""tidepool.numpy, the program from Python, run directories, the examples."""

import json
import pathlib
import subprocess

import numpy as np
import pytest
import torch
from cases import NAMES, SOURCE, keys_of

import tidepool
import tidepool.numpy as tn
from tidepool._registry import descriptions
from tidepool.run import Run, program, read_safetensors
from tidepool.torch import functional


@pytest.mark.parametrize("name", NAMES)
def test_numpy_as_torch(name):
    rank = 2 if 2 in descriptions()[name].ranks else 1
    keys = json.loads(keys_of(name))
    x = np.random.default_rng(0).standard_normal((2, 4, *[8] * rank))
    parameters = tn.initial_parameters(x.shape, name, dtype=np.float64, **keys)
    y = tn.pool(x, name, parameters=parameters, **keys)
    assert y.dtype == np.float64 and y.shape == tuple(tn.output_shape(x.shape, name, **keys))
    t = torch.from_numpy(x).requires_grad_()
    leaves = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in parameters.items()}
    z = getattr(functional, f"{descriptions()[name].function_name}{rank}d")(t, parameters=leaves, **keys)
    assert np.array_equal(z.detach().numpy(), y)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    z.backward(torch.from_numpy(dy))
    dx, gradients = tn.pool_backward(dy, x, name, parameters=parameters, **keys)
    assert np.array_equal(dx, t.grad.numpy())
    assert list(gradients) == list(parameters)
    for key, gradient in gradients.items():
        assert np.array_equal(gradient, leaves[key].grad.numpy())


def test_numpy_views_and_read_only_arrays():
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("f4")
    y = tn.pool(x, "soft", kernel=2)
    for view in (x[::-1][::-1], np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2], np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)):
        assert np.allclose(tn.pool(view, "soft", kernel=2), y, rtol=1e-6)
    assert np.array_equal(tn.pool(x[:, :, ::-1, ::-1], "max", kernel=2), tn.pool(x, "max", kernel=2)[:, :, ::-1, ::-1])
    frozen = x.copy()
    frozen.setflags(write=False)
    assert np.array_equal(tn.pool(frozen, "soft", kernel=2), y)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    assert tn.pool(last, "soft", kernel=2).strides[1] == 4  # channels side by side, as in x
    assert tn.pool(np.zeros((0, 3, 8, 8), "f4"), "soft").shape == (0, 3, 4, 4)
    y[...] = 0  # nobody else's
    assert tn.pool(x, "stochastic", training=True, seed=1).tolist() == tn.pool(x, "stochastic", training=True, seed=1).tolist()


def test_values_beside_the_programs_own(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    x = np.random.default_rng(2).standard_normal((2, 3, 9, 8)).astype("f4")
    for name, keys in (("soft", {"kernel": 3, "stride": 2, "padding": 1}), ("dynopool", {"r": 0.4}), ("lip", {"logit": "simplified"})):
        y = tn.pool(x, name, **keys)
        dy = np.random.default_rng(3).standard_normal(y.shape).astype("f4")
        safetensors.save_file({"x": x}, tmp_path / "x.safetensors")
        safetensors.save_file({"dy": dy}, tmp_path / "dy.safetensors")
        subprocess.run(
            [program(), "op", name, "--input", tmp_path / "x.safetensors", "--grad", tmp_path / "dy.safetensors", "--config",
             json.dumps(keys), "--output", tmp_path / "y.safetensors"], check=True)  # fmt: skip
        made = read_safetensors(tmp_path / "y.safetensors")
        assert np.array_equal(made["y"], y)
        dx, gradients = tn.pool_backward(dy, x, name, **keys)
        assert np.array_equal(made["dx"], dx)
        for parameter, gradient in gradients.items():
            assert np.array_equal(made[f"d_{parameter}"], gradient)


def tiny(out, **more):
    return tidepool.train(
        "toy_procedural.json",
        out,
        quiet=True,
        set={
            "model.width": 0.05,
            "data.train_images": 64,
            "data.test_images": 32,
            "train.batch": 16,
            "train.epochs": 2,
            "model.pool.default.type": "dynopool",
            **more,
        },
    )


def test_train_and_run(tmp_path):
    run = tiny(tmp_path / "run", **{"data.val_images": 16})
    assert isinstance(run, Run) and run.config["train"]["epochs"] == 2
    log = run.log
    assert log["step"][-1] == run.result["steps"] and np.isfinite(log["loss"]).sum() >= 2
    assert np.isnan(log["val_top1"]).any() and np.isfinite(log["val_top1"]).any()
    steps, alpha = run.shapes["pool1.alpha"]
    assert alpha.shape == (len(steps), 2)
    weights = run.weights()
    assert weights["pool1.alpha"].shape == (2,) and not any(k.startswith("state/") for k in weights)
    assert any(k.startswith("state/") for k in run.weights(state=True))
    assert set(run.weights("best")) == set(weights)
    assert run.provenance and "version" in json.dumps(run.provenance)
    with pytest.raises(ValueError, match="last"):
        run.weights("first")
    again = tidepool.train(run.config, tmp_path / "again", quiet=True)
    assert all(np.array_equal(v, again.weights()[k]) for k, v in weights.items())
    assert tidepool.train(str(tmp_path / "run"), None, resume=True, quiet=True).directory == tmp_path / "run"


def test_a_run_is_named_by_its_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = {"train.max_steps": 0, "model.width": 0.05}
    (tmp_path / "base.json").write_text('{"extends": "toy_procedural.json", "name": "named-run"}')
    for config, changes, name in (
        ("base.json", {}, "named-run"),
        ("base.json", {"name": "other"}, "other"),
        ({"extends": "base.json", "name": "mine"}, {}, "mine"),
    ):
        assert tidepool.train(config, quiet=True, set={**few, **changes}).directory.name == name
        assert (tmp_path / "runs" / name / "config.json").exists()


def test_requests_of_the_program_that_are_wrong(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'optim.lr'"):
        tiny(tmp_path / "a", **{"optim.lrr": 1})
    with pytest.raises(ValueError, match="no_such.json"):
        tidepool.train("no_such.json", tmp_path / "b", quiet=True)


def test_a_run_of_an_older_program():
    run = Run(SOURCE / "tests" / "cli" / "old_run")
    assert run.log["loss"].shape[0] >= 10 and "pool1.alpha" in run.shapes and len(run.weights()) > 10


def test_safetensors_that_are_none(tmp_path):
    for content in (b"", b"12345678", (10**15).to_bytes(8, "little"), (4).to_bytes(8, "little") + b"{..}"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError, match="no safetensors file"):
            read_safetensors(tmp_path / "x")


def test_a_run_that_is_being_written(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    rows = "step,epoch,name,index,value\n0,0,pool1.alpha,0,2\n0,0,pool1.alpha,1,2\n4,1,pool1.alpha,0,3\n"
    for cut in ("", "4,1,pool1.al", "4,1,pool1.alpha,1,2.5"):
        (tmp_path / "shapes.csv").write_text(rows + cut)
        steps, values = tidepool.Run(tmp_path).shapes["pool1.alpha"]
        assert steps.tolist() == [0] and values.tolist() == [[2, 2]]


def test_version_is_the_programs():
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout
    assert tidepool.__version__ in said
    assert tidepool.provenance()["libraries"]["oneDNN"]


def test_the_example_notebook(tmp_path, monkeypatch):
    """Every code cell, in order."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((SOURCE / "examples" / "python" / "learned_sizes.ipynb").read_text())
    names = {"__name__": "notebook"}
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(cells) >= 4
    for cell in cells:
        exec(compile("".join(cell["source"]), "learned_sizes.ipynb", "exec"), names)
    assert pathlib.Path("runs/notebook/result.json").exists()


def test_the_jax_example():
    pytest.importorskip("jax")
    names = {"__name__": "example"}
    exec(compile((SOURCE / "examples" / "python" / "jax_pool.py").read_text(), "jax_pool.py", "exec"), names)
    names["main"]()


def test_every_line_of_the_page_of_operators_runs():
    """docs/operators.md shows a config, where the operator resizes, and a call for each; both are the same operator."""
    import tidepool.torch  # noqa: F401

    lines = (SOURCE / "docs" / "operators.md").read_text().splitlines()
    seen = set()
    for at, line in enumerate(lines):
        if not line.startswith("tidepool.torch.") or line.startswith("tidepool.torch.functional."):
            continue
        module = eval(line, {"tidepool": tidepool})
        assert lines[at - 1].endswith("# in a config") == (module.operator not in ("spp", "strip"))
        if lines[at - 1].endswith("# in a config"):
            config = json.loads(lines[at - 1].removesuffix("# in a config"))
            assert module.operator == config["type"]
            assert json.loads(module.keys_text) == {k: v for k, v in config.items() if k != "type"}
        x = torch.randn([2, 4] + [32] * module.rank)
        y = eval(lines[at + 1], {"tidepool": tidepool, "x": x})
        assert y.shape[:2] == x.shape[:2]
        seen.add(module.operator)
    assert seen == set(NAMES)


@pytest.mark.parametrize("seed", [-1, 1.5, True, 1 << 63])
def test_a_seed_that_is_none_is_refused(seed):
    x = np.zeros((1, 1, 4, 4), np.float32)
    for call in (lambda: tn.pool(x, "stochastic", seed=seed), lambda: tn.pool_backward(x, x, "stochastic", seed=seed)):
        with pytest.raises(ValueError, match="seed: expected an integer from 0 to 2"):
            call()


def test_a_killed_program_is_named_by_its_signal(tmp_path, monkeypatch):
    killed = tmp_path / "tidepool"
    killed.write_text("#!/bin/sh\necho epoch 1 >&2\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(tidepool.run, "program", lambda: str(killed))
    with pytest.raises(RuntimeError, match="ended by the signal SIGKILL"):
        tidepool.run.train("toy_procedural.json", out=tmp_path / "run", quiet=True)
