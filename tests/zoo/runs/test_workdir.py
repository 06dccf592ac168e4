import configs
from zoo.runs import workdir

EXPERIMENT = configs.get("palm_nano")


def test_fresh_deletes_what_a_run_writes_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "notes.txt").write_text("mine")
    workdir.prepare(tmp_path)
    assert (tmp_path / "checkpoints" / "3").is_dir()
    workdir.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_samples_stand_under_their_step_once(tmp_path):
    for step, text in ((3, "café"), (6, "def"), (6, "def")):
        workdir.write_sample(tmp_path, step, text)
    samples = {path.name: path.read_text("utf-8") for path in (tmp_path / "samples").iterdir()}
    assert samples == {"000003.txt": "café\n", "000006.txt": "def\n"}
