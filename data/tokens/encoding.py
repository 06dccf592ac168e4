"""Encode texts as token ids in several processes, in order.

    python -m data.tokens.encoding    is one of these processes, which its parent starts with pipes

Processes of `multiprocessing` would import the running program again, which fails in a notebook and
in a script without a main guard.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import IO, Self, cast

import numpy as np

from data.errors import DataError
from data.vocabularies.files import vocabulary_from_files
from data.vocabularies.vocabulary import Vocabulary

# For less text, starting processes (0.3 s) takes longer than encoding (2 MB/s).
_MIN_BYTES_TO_DIVIDE = 1_000_000
_JOB_CHARACTERS = 1 << 18


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def encode_document(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """Return [BOS, ids of `text`, EOS] int32, without a BOS or EOS that the vocabulary lacks.

    If EOS is BOS, only one mark stands between two documents: the BOS of the second.
    """
    ids = [*vocabulary.start, *vocabulary.encode(text), *vocabulary.end]
    return np.array(ids, np.int32)


def encoding_fingerprint(vocabulary: Vocabulary) -> str:
    """Return a hash that changes whenever `encode_document` would return other ids."""
    if vocabulary.bos_id is None or vocabulary.bos_id != vocabulary.eos_id:
        return vocabulary.fingerprint
    # Until commit 135b219 such a vocabulary had two marks in a row between documents.
    return f"{vocabulary.fingerprint}, one mark"


def encode_documents(
    texts: Iterable[str], vocabulary: Vocabulary, num_processes: int
) -> Generator[np.ndarray, None, None]:
    """Yield `encode_document` of each text, in order. Closing the generator ends the processes.

    Raises DataError if a process was ended from outside.
    """
    texts = iter(texts)
    first: list[str] = []
    size = 0
    while num_processes > 1 and size < _MIN_BYTES_TO_DIVIDE:
        if (text := next(texts, None)) is None:
            num_processes = 1
        else:
            first.append(text)
            size += len(text)
    texts = chain(first, texts)
    if num_processes == 1:
        yield from (encode_document(vocabulary, text) for text in texts)
    else:
        yield from _encode_in_processes(texts, vocabulary, num_processes)


def _encode_in_processes(
    texts: Iterator[str], vocabulary: Vocabulary, num_processes: int
) -> Iterator[np.ndarray]:
    with ExitStack() as stack:
        idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for _ in range(num_processes):
            idle.put(stack.enter_context(_Process(vocabulary)))

        def encode(job: list[str]) -> list[np.ndarray]:
            process = idle.get()
            try:
                return process.encode(job)
            finally:
                idle.put(process)

        pool = stack.enter_context(ThreadPoolExecutor(num_processes))
        jobs = _jobs(texts)
        running: deque[Future[list[np.ndarray]]] = deque()
        try:
            for job in islice(jobs, 2 * num_processes):
                running.append(pool.submit(encode, job))
            while running:
                yield from running.popleft().result()
                for job in islice(jobs, 1):
                    running.append(pool.submit(encode, job))
        finally:
            pool.shutdown(cancel_futures=True)


def _jobs(texts: Iterator[str]) -> Iterator[list[str]]:
    """Yield lists of texts, each of about the same length in characters."""
    job, size = [], 0
    for text in texts:
        job.append(text)
        size += len(text)
        if size >= _JOB_CHARACTERS:
            yield job
            job, size = [], 0
    if job:
        yield job


class _Process:
    """A child process that encodes texts, which reach it and return through pipes."""

    def __init__(self, vocabulary: Vocabulary):
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "data.tokens.encoding"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )
        self._send(vocabulary.to_files())

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Return the ids of each text. Raises DataError if the process has ended."""
        try:
            self._send(texts)
            return pickle.load(cast(IO[bytes], self._process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise DataError(
                f"a process that encodes text was ended (exit status {self._process.wait()}), most "
                "likely because it ran out of memory; run the same command again to resume"
            ) from error

    def _send(self, value: object) -> None:
        stdin = cast(IO[bytes], self._process.stdin)
        pickle.dump(value, stdin, pickle.HIGHEST_PROTOCOL)
        stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate()


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer lists of texts with lists of ids until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    vocabulary = vocabulary_from_files(pickle.load(requests))
    while True:
        try:
            texts = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(
            [encode_document(vocabulary, text) for text in texts], answers, pickle.HIGHEST_PROTOCOL
        )
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
