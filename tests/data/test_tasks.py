import subprocess
import sys

import pytest
import seqio
import tensorflow as tf

from data import tasks
from data.corpus import Corpus, Document

TEXTS = ("def f():\n    return 1\n", "tab\tand\r\nNUL\0", "é😀\u2581</s>", " ", "ends in NULs\0\0")


@pytest.fixture
def task(vocabulary):
    documents = tuple(Document(str(index), text) for index, text in enumerate(TEXTS))
    corpus = Corpus("here", documents, documents[:1])
    yield tasks.register("test_task", corpus, vocabulary)
    seqio.TaskRegistry.remove("test_task")


def test_a_task_gives_the_vocabularys_ids_between_bos_and_eos(task, vocabulary):
    encoded = [ids.tolist() for ids in tasks.encoded_documents(task, "train")]
    assert encoded == [
        [vocabulary.bos_id, *vocabulary.encode(text), vocabulary.eos_id] for text in TEXTS
    ]
    assert [vocabulary.decode(ids) for ids in encoded] == list(TEXTS)
    assert len(list(tasks.encoded_documents(task, "validation"))) == 1


def test_registering_again_replaces_the_task(task, corpus, vocabulary):
    assert seqio.TaskRegistry.get("test_task") is task
    again = tasks.register("test_task", corpus, vocabulary)
    assert seqio.TaskRegistry.get("test_task") is again
    assert again.num_input_examples("train") == len(corpus.train)


def test_a_t5x_user_can_pack_and_shuffle_it(task, vocabulary):
    dataset = seqio.get_dataset(
        "test_task",
        task_feature_lengths={"targets": 64},
        dataset_split="train",
        shuffle=True,
        seed=1,
        feature_converter=seqio.LMFeatureConverter(pack=True, bos_id=vocabulary.bos_id),
    )
    rows = list(dataset.as_numpy_iterator())
    seen = [token for row in rows for token in row["decoder_target_tokens"].tolist() if token]
    assert seen.count(vocabulary.eos_id) == len(TEXTS)
    assert {row["decoder_segment_ids"].shape for row in rows} == {(64,)}


def test_seqios_view_of_the_vocabulary_is_the_vocabulary(vocabulary):
    view = tasks.SeqioVocabulary(vocabulary)
    assert view.vocab_size == vocabulary.size
    assert (view.pad_id, view.eos_id, view.unk_id, view.bos_id) == (0, 1, 2, 3)
    assert view == tasks.SeqioVocabulary(vocabulary)
    ids = view.encode("a é\u2581\n")
    assert ids == vocabulary.encode("a é\u2581\n")
    assert view.encode_tf(tf.constant("a é\u2581\n")).numpy().tolist() == ids
    assert view.decode(ids) == "a é\u2581\n"
    assert view.decode_tf(tf.constant(ids)).numpy().decode() == "a é\u2581\n"
    batch = view.decode_tf(tf.constant([ids, ids[::-1]])).numpy()
    assert batch[0].decode() == "a é\u2581\n"
    assert batch.shape == (2,)


def test_importing_tensorflow_is_silent():
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import data.tasks"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("", "")
