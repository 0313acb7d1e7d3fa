"""tidepool: pooling operators for research, for PyTorch and numpy, and the program that trains networks of them.

    import tidepool.torch           # SoftPool2d, DynOPool2d, ...; functional.soft_pool2d, ...; replace_pooling
    import tidepool.numpy           # pool, pool_backward
    tidepool.train("toy_procedural.json"), tidepool.Run("runs/toy-procedural")
"""

import importlib

from . import _core

__version__ = _core.version

__all__ = ["Run", "operators", "provenance", "train"]


def operators():
    """Names of all pooling operators, sorted; `tidepool.torch` documents each."""
    from ._registry import descriptions

    return sorted(descriptions())


def provenance():
    """What this module was built of: version, git revision ("+changes" behind it where files differed), compiler and
    libraries, as a run's provenance.json names them."""
    return {
        "version": _core.version,
        "revision": _core.revision,
        "compiler": _core.compiler,
        "libraries": dict(_core.libraries),
    }


def __getattr__(name):
    if name in ("train", "Run"):
        from . import run

        return getattr(run, name)
    if name in ("torch", "numpy", "run", "bench"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'tidepool' has no attribute '{name}'")
