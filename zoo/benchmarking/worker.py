"""The process that measures one side, which `processes` starts.

It reads a request and then one line per repeat from standard input, and answers each with a JSON
object on standard output. What libraries print goes to standard error.
"""

import json
import os
import sys
import time
from typing import Any, TextIO

from zoo.benchmarking import ours, theirs
from zoo.benchmarking.workload import Workload
from zoo.common.errors import exit_code, message


def serve(requests: TextIO, answers: TextIO) -> None:
    """Prepare what the first line asks for, repeat it once per line, and tell the memory used."""

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        request = json.loads(requests.readline())
        workload = Workload.from_json(request["workload"])
        device: dict[str, Any] = {}
        if request["side"] == "zoo":
            workload, device, repeat = ours.prepare(workload)
        else:
            repeat = theirs.prepare(workload, request["platform"])
        start_s = time.perf_counter()
        repeat()
        first_s = time.perf_counter() - start_s
        answer({"workload": workload.to_json(), "device": device, "first_s": first_s})
        for _ in requests:
            answer({"seconds": repeat(), "peak_bytes": _peak_bytes(request["side"])})
    except Exception as error:  # whatever `message` has words for; anything else is raised again
        code = exit_code(error)
        if code is None:
            raise
        answer({"error": message(error), "code": code})


def _peak_bytes(side: str) -> int:
    return ours.peak_bytes() if side == "zoo" else theirs.peak_bytes()


def main() -> None:
    """Serve the process that started this one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
