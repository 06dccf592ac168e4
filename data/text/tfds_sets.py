"""Sets of TensorFlow Datasets that have a task name here, found on the disk without TensorFlow."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.errors import DataError
from data.text.survey import Split

if TYPE_CHECKING:
    from etils import epath


@dataclass(frozen=True)
class TfdsSet:
    """A set of documents."""

    name: str
    """Name in the catalogue of TensorFlow Datasets, with its config."""
    version: str
    """The version that data.prepare makes; any version on the disk is read."""
    held_out: str
    """The split that is evaluated. If it is `train`, the set has no other: its beginning is held
    out, and not trained on."""
    max_held_out: int
    """Largest number of its documents to hold out: an evaluation reads all of them."""
    field: str = "text"
    """The feature that holds a document's text."""

    def splits(self, num_held_out: int) -> dict[Split, str]:
        """Return the instructions by which TensorFlow Datasets reads each split."""
        train = f"train[{num_held_out}:]" if self.held_out == "train" else "train"
        return {"train": train, "validation": f"{self.held_out}[:{num_held_out}]"}


SETS: Mapping[str, TfdsSet] = {
    "tiny_shakespeare": TfdsSet("tiny_shakespeare", "1.0.0", "validation", 1),
    "wiki40b_en": TfdsSet("wiki40b/en", "1.3.0", "validation", 2_000),
    "lm1b": TfdsSet("lm1b", "1.1.0", "test", 50_000),
    "c4_en": TfdsSet("c4/en", "3.1.0", "validation", 3_000),
    "c4_en_noclean": TfdsSet("c4/en.noclean", "3.1.0", "validation", 3_000),
    "c4_webtextlike": TfdsSet("c4/webtextlike", "3.1.0", "validation", 3_000),
    "c4_realnewslike": TfdsSet("c4/realnewslike", "3.1.0", "validation", 3_000),
    "wikipedia_en": TfdsSet("wikipedia/20230601.en", "1.0.0", "train", 2_000),
    "pg19": TfdsSet("pg19", "0.1.1", "validation", 50, "book_text"),
    "arxiv": TfdsSet("scientific_papers/arxiv", "1.1.1", "validation", 200, "article"),
    "pubmed": TfdsSet("scientific_papers/pubmed", "1.1.1", "validation", 300, "article"),
    "reddit": TfdsSet("reddit", "1.0.0", "train", 5_000, "content"),
    "dolma": TfdsSet("dolma", "1.0.0", "train", 3_000),
}


@dataclass(frozen=True)
class PreparedSet:
    """A set on the disk."""

    tfds_name: str
    """Name in TensorFlow Datasets, with its config and version."""
    data_dir: str
    """The folder of all prepared sets."""
    splits: Mapping[Split, str]
    """The instruction by which TensorFlow Datasets reads each split."""
    num_documents: Mapping[Split, int]
    """Number of documents in each split."""
    fingerprint: str
    """SHA-256 of the set's description: names, versions and sizes of its shards."""


def data_folder(configured: str | None) -> str:
    """Return the folder of prepared sets: data.data_dir, or the default of TensorFlow Datasets."""
    fallback = os.path.join("~", "tensorflow_datasets")
    return os.path.expanduser(configured or os.environ.get("TFDS_DATA_DIR") or fallback)


def find_prepared(task: str, configured_dir: str | None) -> PreparedSet:
    """Return the newest version on the disk of the set SETS[task].

    `configured_dir` is the value of data.data_dir. Raises DataError if the set is not prepared, or
    its description is damaged.
    """
    tfds_set, data_dir = SETS[task], data_folder(configured_dir)
    versions = _versions(task, data_dir)
    if not versions:
        raise DataError(
            f"data.task={task!r} is not prepared: there is no "
            f"{os.path.join(data_dir, tfds_set.name)}/VERSION/dataset_info.json; "
            f"prepare it with\n  python -m data.prepare --task={task} --data-dir={data_dir}\n"
            "or name its folder with data.data_dir or TFDS_DATA_DIR"
        )
    newest = max(versions, key=lambda path: [int(part) for part in path.name.split(".")])
    try:
        description = (newest / "dataset_info.json").read_bytes()
        sizes = {
            split["name"]: sum(map(int, split["shardLengths"]))
            for split in json.loads(description)["splits"]
        }
        from_train = tfds_set.held_out == "train"
        most = sizes[tfds_set.held_out] // (10 if from_train else 1)
        num_held_out = min(most, tfds_set.max_held_out)
        num_train = sizes["train"] - (num_held_out if from_train else 0)
        num_documents: dict[Split, int] = {"train": num_train, "validation": num_held_out}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the prepared set {newest} is damaged ({error!r}); delete it and prepare it again "
            f"with python -m data.prepare --task={task} --data-dir={data_dir}"
        ) from error
    splits = tfds_set.splits(num_held_out)
    key = json.dumps([tfds_set.name, newest.name, splits]).encode() + description
    return PreparedSet(
        tfds_name=f"{tfds_set.name}:{newest.name}",
        data_dir=data_dir,
        splits=splits,
        num_documents=num_documents,
        fingerprint=hashlib.sha256(key).hexdigest(),
    )


def is_prepared(task: str, configured_dir: str | None) -> bool:
    """Return whether a version of the set SETS[task] is on the disk."""
    return bool(_versions(task, data_folder(configured_dir)))


def _versions(task: str, data_dir: str) -> list["epath.Path"]:
    """Return the folders of the set's versions that are on the disk."""
    from etils import epath  # 0.1 s; reads gs:// folders, as TensorFlow Datasets does

    folder = epath.Path(data_dir) / SETS[task].name
    if not folder.is_dir():  # also False for a bucket that cannot be reached
        return []
    # Other folders are left over from an unfinished preparation, such as `1.0.0.incompleteABC`.
    return [
        path
        for path in folder.iterdir()
        if re.fullmatch(r"\d+(\.\d+)*", path.name) and (path / "dataset_info.json").exists()
    ]
