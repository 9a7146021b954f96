"""Commands whose refusal can be a result; whatever else goes wrong with them ends the measurement."""

import re
import subprocess
import sys


class Refused(Exception):
    """The command did its work, and this is what it found."""


def run(command, refusal):
    """Runs a command and shows its errors. A line of them with the pattern `refusal` is raised as Refused."""
    found = None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            sys.stderr.write(line)
            found = line.strip() if re.search(refusal, line) else found
    code = process.returncode
    if code == 0:
        return
    if found:
        raise Refused(found)
    sys.exit(f"error: {command[0]} {command[1]} ended with {code}, which is no result")
