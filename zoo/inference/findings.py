"""The findings of an evaluation, for people and for programs."""

from typing import Any

from zoo.inference.evaluation import CheckpointEvaluation, description


def summary(measured: CheckpointEvaluation) -> dict[str, Any]:
    """Return the object that --json prints for one text."""
    evaluation, of_run = measured.evaluation, measured.evaluation_of_run
    return {
        "checkpoint": str(measured.folder),
        "text": measured.text.source,
        "seq_len": measured.experiment.seq_len,
        "stride": measured.stride,
        "packing": measured.text.packing,
        "num_tokens": evaluation.num_tokens,
        "num_bytes": evaluation.num_bytes,
        **evaluation.to_json(),
        "baselines": measured.text.baselines,
        "weights": measured.weights,
        "run_weights": None if of_run is None else of_run.to_json(),
    }


def on_one_text(measured: CheckpointEvaluation, *, is_cut: bool) -> str:
    """Describe the result on one text, a number a line."""
    predicted, beside = f"in {_rows(measured)}", _beside_run(measured)
    return description(measured.text, measured.evaluation, predicted, is_cut=is_cut, beside=beside)


def _beside_run(measured: CheckpointEvaluation) -> str:
    if measured.evaluation_of_run is None:
        return ""
    of_run = measured.evaluation_of_run.bits_per_byte
    difference = measured.evaluation.bits_per_byte - of_run
    return f" with {measured.weights} weights, {of_run:.4f} with the run's ({difference:+.4f})"


def on_several_texts(measured: list[CheckpointEvaluation]) -> str:
    """Describe the results on several texts, one a line."""
    baselines = list(dict.fromkeys(name for each in measured for name in each.text.baselines))
    header = ["text", "bytes", "tokens", "nats/token", "ppl/token", "ppl/byte", "bits/byte"]
    if measured[0].evaluation_of_run is not None:
        header[-1:] = [f"{measured[0].weights} bits/byte", "run's"]
    rows = [[*header, *baselines]]
    for each in measured:
        found = each.evaluation
        row = [each.text.source, f"{found.num_bytes:,}", f"{found.num_tokens:,}"]
        row += [f"{found.loss:.4f}", f"{found.perplexity:.4g}", f"{found.byte_perplexity:.4g}"]
        of_text = [each.text.baselines.get(name) for name in baselines]
        bits = [found, *filter(None, [each.evaluation_of_run])]
        row += [
            *(f"{of.bits_per_byte:.4f}" for of in bits),
            *("-" if b is None else f"{b:.4f}" for b in of_text),
        ]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    shared = f"in {_rows(measured[0])}; ppl: perplexity"
    if baselines:
        shared += f"; {' and '.join(baselines)} in bits per byte, on the whole text"
    return "\n".join([*lines, shared])


def _rows(measured: CheckpointEvaluation) -> str:
    rows = f"rows of {measured.experiment.seq_len:,}"
    if measured.stride != measured.experiment.seq_len:
        rows += f" that move by {measured.stride:,}"
    return f"{rows}, data.packing={measured.text.packing}"
