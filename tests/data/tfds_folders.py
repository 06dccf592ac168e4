"""Prepared sets of TensorFlow Datasets, made from a few texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds


def store_set(
    data_dir: str | Path,
    name: str,
    features: Sequence[str],
    field: str,
    splits: Mapping[str, Sequence[str]],
    version: str,
    *,
    ordered: bool,
) -> None:
    """Prepare a set with the given texts in the feature `field`.

    Args:
      name: with its config, such as c4/en.
      features: names of all features, which are texts.
      ordered: whether its files must be read in order.
    """
    set_name, _, config = name.partition("/")

    def dataset(texts: Sequence[str]) -> tf.data.Dataset:
        examples: Any = {
            feature: list(texts) if feature == field else ["x"] * len(texts) for feature in features
        }
        return tf.data.Dataset.from_tensor_slices(examples)

    tfds.dataset_builders.store_as_tfds_dataset(
        name=set_name,
        config=config or None,
        version=version,
        features=tfds.features.FeaturesDict({f: tfds.features.Text() for f in features}),
        split_datasets={split: dataset(texts) for split, texts in splits.items()},
        data_dir=str(data_dir),
        disable_shuffling=ordered,
    )
