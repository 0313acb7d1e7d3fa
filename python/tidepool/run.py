"""Training by the program, and run directories as Python sees them."""

import csv
import json
import math
import os
import pathlib
import signal
import subprocess
import tempfile

import numpy as np

from . import _core

__all__ = ["Run", "program", "read_safetensors", "train"]


def program():
    """The path of the program `tidepool`, which is installed beside the compiled module."""
    beside = pathlib.Path(_core.__file__).parent / "bin" / "tidepool"
    if not beside.exists():
        raise RuntimeError(f"the program tidepool is not there: expected {beside}")
    return str(beside)


def _set_option(key, value):
    return ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]


def train(config, out=None, *, data=None, resume=False, quiet=False, set=None):
    """Trains a network as a config says, and returns its Run.

    `config` is a dict, a file, or the name of a config that the program has ("toy_procedural.json"); `out` is the run
    directory (default: runs/NAME, by the config's "name" or the file's), `data` the folder of the data set; `set` changes
    keys by their dotted paths: {"optim.lr": 0.05}. With `resume`, `config` is a run directory and the run is resumed.
    The program is a process of its own and prints its progress, unless `quiet`; Ctrl-C ends it after a step, with a
    checkpoint. ValueError with the program's message where the request is wrong, RuntimeError where the work fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        changes = set or {}
        if isinstance(config, dict):
            path = pathlib.Path(folder) / "config.json"
            base = config.get("extends")
            if isinstance(base, str) and os.path.exists(base):  # relative to the dict's folder, which is this one
                config = {**config, "extends": os.path.abspath(base)}
            path.write_text(json.dumps(config))
            name = config.get("name", "run")
        else:
            path = os.fspath(config)
            name = None  # the file's, which the program knows
        name = changes.get("name", name)
        if out is None and resume:
            out = path
        elif out is None and name is not None:
            out = pathlib.Path("runs") / name
        command = [program(), "train", str(path)]
        for key, value in changes.items():
            command += _set_option(key, value)
        if out is not None and (not resume or os.fspath(out) != str(path)):
            command += ["--out", os.fspath(out)]
        if data is not None:
            command += ["--data", os.fspath(data)]
        if resume:
            command += ["--resume"]
        printed = pathlib.Path(folder) / "stdout"
        with printed.open("w") as stdout:
            process = subprocess.Popen(
                command,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if not quiet:
                    print(line, end="", flush=True)
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it has the signal too
            raise
        if status < 0:
            raise RuntimeError(f"tidepool train: ended by the signal {signal.Signals(-status).name}")
        if status != 0:
            errors = [line.strip() for line in lines if line.strip()] or [f"tidepool train: exit status {status}"]
            raise (ValueError if status == 2 else RuntimeError)(errors[-1])
        summary = printed.read_text(encoding="utf-8")
        if not quiet:
            print(summary, end="", flush=True)
        return Run(summary.splitlines()[-1][len("in ") :] if out is None else out)


def read_safetensors(path):
    """Tensors of a safetensors file by name, as numpy arrays; bf16 as float32."""
    types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BF16": "<u2"}
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or 8 + size > len(data):
        raise ValueError(f"{path}: no safetensors file")
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        raise ValueError(f"{path}: no safetensors file") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: no safetensors file")
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in types:
            raise ValueError(f"{path}: {name} has the type {entry['dtype']}, expected one of {', '.join(types)}")
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + size + begin : 8 + size + end], types[entry["dtype"]])
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


class Run:
    """A run directory: what was trained, how, and what came of it."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        if not (self.directory / "config.json").exists():
            raise ValueError(f"{self.directory}: no run: config.json is not there")

    def __repr__(self):
        return f"tidepool.Run({str(self.directory)!r})"

    def _json(self, name):
        path = self.directory / name
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def config(self):
        """The resolved config."""
        return self._json("config.json")

    @property
    def result(self):
        """What result.json says of a finished run (top1_last, gmacs, shapes, ...); None before its end."""
        return self._json("result.json")

    @property
    def provenance(self):
        return self._json("provenance.json")

    @property
    def log(self):
        """The log as one float array per number (step, epoch, loss, lr, test_top1, ...), NaN where a step has none."""
        rows = []
        path = self.directory / "log.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:  # a run that is being written
                break
        numbers = {k: None for row in rows for k, v in row.items() if isinstance(v, (int, float))}
        return {
            key: np.array(
                [row[key] if isinstance(row.get(key), (int, float)) else math.nan for row in rows], dtype=np.float64
            )
            for key in numbers
        }

    @property
    def shapes(self):
        """The path of every shape parameter and map size: {name: (steps, values)}, values [steps, entries]."""
        path = self.directory / "shapes.csv"
        if not path.exists():
            return {}
        columns = {}
        with path.open(newline="") as file:
            for row in csv.DictReader(line for line in file if line.endswith("\n")):  # a cut last line is left out
                columns.setdefault(row["name"], {}).setdefault(int(row["step"]), {})[int(row["index"])] = float(
                    row["value"]
                )
        paths = {}
        for name, by_step in columns.items():
            entries = max(len(one) for one in by_step.values())
            steps = sorted(step for step, one in by_step.items() if len(one) == entries)  # the last one may be cut
            paths[name] = (
                np.array(steps),
                np.array([[by_step[step][i] for i in sorted(by_step[step])] for step in steps]),
            )
        return paths

    def weights(self, which="last", state=False):
        """The network's tensors by name, of the "last" or the "best" checkpoint; with `state` the optimizer's too."""
        if which not in ("last", "best"):
            raise ValueError(f"weights: expected 'last' or 'best', got {which!r}")
        path = self.directory / f"{which}.safetensors"
        if not path.exists():
            raise ValueError(f"{path}: not there{'; only runs with a validation part have one' if which == 'best' else ''}")
        return {k: v for k, v in read_safetensors(path).items() if state or not k.startswith("state/")}
