"""TensorFlow Datasets that the project knows by name, found on the disk without TensorFlow."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from data.errors import DataError
from data.text.survey import Split


@dataclass(frozen=True)
class TfdsSet:
    """A set whose documents are in its feature `text`.

    Attributes:
      name: in the catalogue of TensorFlow Datasets, with its config.
      version: that data.prepare makes; any that is on the disk is read.
      held_out: the split that is evaluated.
      max_held_out: so many of its documents and no more: an evaluation reads all of it.
    """

    name: str
    version: str
    held_out: str
    max_held_out: int


SETS: Mapping[str, TfdsSet] = {
    "tiny_shakespeare": TfdsSet("tiny_shakespeare", "1.0.0", "validation", 1),
    "wiki40b_en": TfdsSet("wiki40b/en", "1.3.0", "validation", 2_000),
    "lm1b": TfdsSet("lm1b", "1.1.0", "test", 50_000),
    "c4_en": TfdsSet("c4/en", "3.1.0", "validation", 3_000),
}


@dataclass(frozen=True)
class PreparedSet:
    """A set on the disk.

    Attributes:
      tfds_name: with its version.
      data_dir: where it is.
      splits: what TensorFlow Datasets is to read for each split.
      num_documents: of each split.
      fingerprint: of the set's own description: names, versions, sizes of its shards.
    """

    tfds_name: str
    data_dir: str
    splits: Mapping[Split, str]
    num_documents: Mapping[Split, int]
    fingerprint: str


def data_folder(configured: str | None) -> str:
    """Where the prepared sets are: `data.data_dir`, or what TensorFlow Datasets uses by itself."""
    fallback = os.path.join("~", "tensorflow_datasets")
    return os.path.expanduser(configured or os.environ.get("TFDS_DATA_DIR") or fallback)


def find(task: str, configured_dir: str | None) -> PreparedSet:
    """The newest version of a set on the disk.

    Args:
      task: a key of SETS.
      configured_dir: `data.data_dir`.

    Raises:
      DataError: it is not prepared, or what is there is damaged.
    """
    from etils import epath  # 0.1 s; with it TensorFlow Datasets reads gs:// folders

    tfds_set, data_dir = SETS[task], data_folder(configured_dir)
    folder = epath.Path(data_dir) / tfds_set.name
    versions = []
    if folder.is_dir():  # False, too, for a bucket that cannot be reached
        versions = [path for path in folder.iterdir() if (path / "dataset_info.json").exists()]
    if not versions:
        raise DataError(
            f"data.task={task!r} is not prepared: there is no {folder}/VERSION/dataset_info.json. "
            f"Prepare it with\n  python -m data.prepare --task={task} --data-dir={data_dir}\n"
            "or say where it is with data.data_dir or TFDS_DATA_DIR."
        )
    newest = max(versions, key=lambda path: [int(part) for part in path.name.split(".")])
    try:
        description = (newest / "dataset_info.json").read_bytes()
        sizes = {
            split["name"]: sum(map(int, split["shardLengths"]))
            for split in json.loads(description)["splits"]
        }
        num_held_out = min(tfds_set.max_held_out, sizes[tfds_set.held_out])
        num_documents: dict[Split, int] = {"train": sizes["train"], "validation": num_held_out}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The prepared set {newest} is damaged ({error!r}). Delete it and prepare it again with "
            f"python -m data.prepare --task={task} --data-dir={data_dir}"
        ) from error
    splits: dict[Split, str] = {
        "train": "train",
        "validation": f"{tfds_set.held_out}[:{num_held_out}]",
    }
    key = json.dumps([tfds_set.name, newest.name, splits]).encode() + description
    return PreparedSet(
        tfds_name=f"{tfds_set.name}:{newest.name}",
        data_dir=data_dir,
        splits=splits,
        num_documents=num_documents,
        fingerprint=hashlib.sha256(key).hexdigest(),
    )
