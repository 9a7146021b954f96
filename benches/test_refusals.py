"""Tests of what the measurements take for a result: `python3 -m unittest discover --start-directory benches`."""

import contextlib
import io
import json
import os
import stat
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import methods

# What only measuring needs.
packages = {"gguf": mock.MagicMock(), "numpy": mock.MagicMock()}
with mock.patch.dict(sys.modules, packages):
    import quality

# A `halfpi` that says what FAKE has and ends so; `train` leaves the report of the options that it was given.
HALFPI = """#!/usr/bin/env python3
import json, os, sys
options = dict(zip(sys.argv[2:], sys.argv[3:]))
print(os.environ.get("FAKE_" + sys.argv[1], ""), file=sys.stderr)
if "FAKE_" + sys.argv[1] in os.environ:
    sys.exit(1)
if sys.argv[1] == "train":
    shape = json.load(open(options["--shape"]))
    run = {"start": {"new": {"shape": shape}}, "batch": int(options["--batch"]), "length": int(options["--length"]),
           "schedule": {"updates": int(options["-n"]), "stages": [{"rate": float(options["--rate"]) * (1 + 1e-8)}]}}
    os.makedirs(options["-o"])
    memory = {"peak": 1, "by_class": [[name, 1] for name in ["weights", "gradients", "votes", "optimizer", "other"]]}
    with open(os.path.join(options["-o"], "run.json"), "w") as file:
        json.dump({"options": run, "parameters": 1, "tokens": 1, "memory": memory, "held_out": [[1, 2.5]]}, file)
    open(os.path.join(options["-o"], "model.gguf"), "w").close()
if sys.argv[1] == "inspect":
    print(json.dumps({"tensors": [{"name": "blk.0.x", "shape": [8, 8], "bytes": 16}]}))
"""


class Refusals(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.halfpi = self.folder / "halfpi"
        self.halfpi.write_text(HALFPI)
        self.halfpi.chmod(self.halfpi.stat().st_mode | stat.S_IXUSR)

    def main(self, module, *options, **said):
        """What a script prints; SystemExit where it ends with an error."""
        command = ["script", "--halfpi", str(self.halfpi), *options]
        printed = io.StringIO()
        environment = {f"FAKE_{name}": text for name, text in said.items()}
        with mock.patch.object(sys, "argv", command), mock.patch.dict(os.environ, environment):
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                module.main()
        return printed.getvalue()

    def methods(self, *options, **said):
        out = ["--out", str(self.folder / "out"), "--corpus", str(self.folder), "--only", "adamw"]
        return self.main(methods, *out, *options, **said)

    def test_a_run_of_other_options_is_refused(self):
        self.assertIn("2.500", self.methods("--updates", "5"))
        self.assertIn("2.500", self.methods("--updates", "5"))
        shape = self.folder / "other.json"
        shape.write_text(json.dumps({**methods.SHAPE, "block_count": 2}))
        for option, value in [("--updates", "6"), ("--batch", "4"), ("--length", "64"), ("--rate", "3e-3"),
                              ("--shape", str(shape))]:
            with self.subTest(option), self.assertRaisesRegex(SystemExit, f"{option} .*choose another --out"):
                self.methods("--updates", "5", option, value)

    def test_a_run_that_was_stopped_is_compared_too(self):
        directory = self.folder / "out/adamw"
        self.methods("--updates", "5")
        run = {"run": json.loads((directory / "run.json").read_text())["options"]}
        (directory / "run.json").unlink()
        header = json.dumps({"__metadata__": {"halfpi.train": json.dumps(run)}}).encode()
        (directory / "checkpoint.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        with self.assertRaisesRegex(SystemExit, "--rate"):
            self.methods("--updates", "5", "--rate", "1e-3")

    def test_only_a_method_that_diverges_is_a_result(self):
        for text in ["error: update 7: the loss is 12.00 nats, and guessing costs 8.32: training has diverged; go on",
                     "error: update 3: the loss is not finite; go on from the last checkpoint",
                     "error: the gradient of blk.0.attn_q.weight is NaN at row 1, column 2: lower the learning rate"]:
            self.assertIn(f"Not in the table: f32, AdamW: {text}", self.methods(train=text))
        for text in ["error: No space left on device", "error: 'x' is no way to quantize", ""]:
            with self.subTest(text), self.assertRaisesRegex(SystemExit, "train ended with 1"):
                self.methods(train=text)

    def quality(self, row, **said):
        model = self.folder / "model.gguf"
        model.touch()
        options = ["--model", str(model), "--work", str(self.folder / "work"), "--rows", row]
        return self.main(quality, *options, **said)

    def test_only_what_pack_refuses_is_refused(self):
        lost = "error: tensor \"x\" as phi4 loses 0.9 of it: choose another format, or take the loss with --allow-loss"
        self.assertIn("| phi4 | refused |", self.quality("phi4", pack=lost))
        with self.assertRaisesRegex(SystemExit, "pack ended with 1"):
            self.quality("phi4", pack="error: No space left on device")
        with self.assertRaises(quality.subprocess.CalledProcessError):
            self.quality("phi4 + feedback", chat=lost)


if __name__ == "__main__":
    unittest.main()
