"""The registry of pooling operators as the compiled part knows it: names, keys with types and defaults, sentences."""

import functools
import inspect
import json
import math
import numbers
import operator as _operator

from . import _core


class Key:
    """One key of an operator: `kernel` of soft."""

    def __init__(self, entry):
        self.name = entry["name"]
        self.help = entry["help"]
        self.type = entry["type"]
        self.kind = entry["kind"]
        self.many = entry["many"]
        self.default = entry["default"]
        self.default_words = entry["default_words"]
        self.required = entry["required"]
        self.schema = entry["schema"]

    def default_text(self):
        if self.default_words:
            return self.default_words
        return "" if self.default is None else repr(self.default)


class Description:
    """What the registry says of an operator."""

    def __init__(self, entry):
        self.name = entry["name"]
        self.class_name = entry["class"]
        self.function_name = entry["function"]
        self.ranks = tuple(entry["ranks"])
        self.keys = tuple(Key(key) for key in entry["keys"])
        self.parameters = tuple(entry["parameters"])
        self.formula = entry["formula"]
        self.gradient = entry["gradient"]
        self.source = entry["source"]
        self.notes = entry["notes"]
        self.keeps = entry["keeps"]
        self.key_names = tuple(key.name for key in self.keys)

    def signature_parameters(self):
        """Of inspect: a parameter per key, in the registry's order. None: not given, the operator's own default holds."""
        return [
            inspect.Parameter(
                key.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None if key.default_words or key.default is None else _hashable(key.default),
            )
            for key in self.keys
        ]

    def documentation(self, first_line):
        """A docstring: formula, keys, source."""
        lines = [first_line, "", f"    {self.formula}", "", f"Gradient: {self.gradient}.", ""]
        if self.keys:
            lines.append("Args:")
            for key in self.keys:
                default = f"; default: {key.default_text()}" if key.default_text() else ""
                lines.append(f"    {key.name} ({key.type}{default}): {key.help}")
            lines.append("")
        lines.append(f"Kept for the backward: {self.keeps}.")
        lines.append(f"Source: {self.source}.")
        if self.notes:
            lines += ["", self.notes]
        return "\n".join(lines)

    def bind(self, positional, named):
        """Values of keys by name from a call's arguments; TypeError as Python's own calls raise it."""
        if len(positional) > len(self.keys):
            raise TypeError(f"[{self.name}] takes {len(self.keys)} keys, got {len(positional)} values")
        values = dict(zip(self.key_names, positional))
        for name, value in named.items():
            if name not in self.key_names:
                known = list(self.key_names)
                raise TypeError(
                    f"[{self.name}] unknown key '{name}'{_core.did_you_mean(name, known)}; known: {', '.join(known) or 'none'}"
                )
            if name in values:
                raise TypeError(f"[{self.name}] key '{name}' is given twice")
            values[name] = value
        return values


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def _plain(op, name, value):
    """A value as JSON knows it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"[{op}] key '{name}': expected a finite number, got {value}")
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(op, name, v) for v in value]
    try:
        return _operator.index(value)  # numpy's integers and torch's
    except TypeError:
        pass
    if type(value).__name__ in ("float16", "float32", "float64"):
        return _plain(op, name, float(value))
    raise TypeError(f"[{op}] key '{name}': expected numbers, words or lists of them, got {type(value).__name__}")


@functools.lru_cache(maxsize=4096)
def _text(name, items):
    return json.dumps({k: _plain(name, k, v) for k, v in items if v is not None}, sort_keys=True)


def _are_integers(value):
    return type(value) is tuple and all(type(v) is int for v in value)


def expect_seed(name, seed):
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= seed < 1 << 63:
        raise ValueError(f"[{name}] seed: expected an integer from 0 to 2^63 - 1, got {seed!r}")


def keys_text(name, values):
    """The keys of a call as the one text by which operators are known everywhere: JSON, sorted, what is None left out."""
    try:
        items = tuple(values.items())
        # 1, 1.0 and True are equal as keys of a cache, and not as values of an operator's.
        if all(type(v) in (int, str, type(None)) or _are_integers(v) for v in values.values()):
            return _text(name, items)
    except TypeError:
        pass
    return _text.__wrapped__(name, tuple(values.items()))


@functools.lru_cache(maxsize=1024)
def operator(name, keys="{}"):
    """The configured operator; raises ValueError with the nearest right name, type or range."""
    return _core.Operator(name, keys)


@functools.lru_cache(maxsize=None)
def descriptions():
    """All operators by name."""
    return {entry["name"]: Description(entry) for entry in json.loads(_core.operators())}


def describe(name):
    """One operator; ValueError with the nearest right name."""
    if not isinstance(name, str):
        raise TypeError(f"pooling: expected the name of an operator, got {type(name).__name__}")
    known = descriptions()
    if name not in known:
        operator(name)  # raises
    return known[name]


def any_length(keys):
    """A length that every window of an operator with these keys fits."""
    values = json.loads(keys)
    span = max([1] + _integers(values.get("kernel", 1))) * max([1] + _integers(values.get("dilation", 1)))
    return 32 + span + 4 * max([1] + [v for v in _integers(values) if v < 1 << 20])


@functools.lru_cache(maxsize=4096)
def tensor_names(name, keys, rank):
    """Names of the learned parameters, and of what may be given in the place of random draws."""
    shape = [1, 16] + [any_length(keys)] * rank
    configured = operator(name, keys)
    return tuple(n for n, _, _ in configured.parameters(shape)), tuple(n for n, _, _ in configured.optional_inputs(shape))


def parameter_probe(op, rank, keys, channels=None, size=None):
    """The parameters of an operator as far as they do not depend on a map: a list of (name, shape, kind), or None where
    they do, on the channels or on the lengths that are not given."""
    longest = any_length(keys)
    lengths = (longest, longest + 16) if size is None else (None,)
    seen = []
    for c in (channels,) if channels else (16, 48):
        for length in lengths:
            seen.append(op.parameters([1, c, *(size if length is None else [length] * rank)]))
    return seen[0] if all(s == seen[0] for s in seen) else None


def _integers(value):
    if isinstance(value, bool):
        return []
    if isinstance(value, (int, float)):
        return [int(value)]
    if isinstance(value, dict):
        value = list(value.values())
    return [i for v in value for i in _integers(v)] if isinstance(value, list) else []
