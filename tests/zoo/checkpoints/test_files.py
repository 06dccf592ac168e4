import orbax.checkpoint as ocp

from zoo.checkpoints.files import FilesHandler, FilesRestore, FilesSave, Owner

FILES = {"0.iterator.index": b"\0\1", "positions.json": b"{}"}


def save(folder, files: dict[str, bytes], owner: Owner) -> None:
    handler = ocp.CompositeCheckpointHandler(item=FilesHandler())
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder, ocp.args.Composite(item=FilesSave(files, owner)))


def restore(folder, owner: Owner) -> dict[str, bytes]:
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(folder, ocp.args.Composite(item=FilesRestore(owner))).item


def test_a_process_gets_its_own_files_back(tmp_path, monkeypatch):
    save(tmp_path / "7", FILES, "process")
    assert restore(tmp_path / "7", "process") == FILES
    assert {path.name for path in (tmp_path / "7" / "item").glob("process_*")} == {"process_0"}
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert restore(tmp_path / "7", "process") == {}


def test_every_process_gets_the_files_of_the_run(tmp_path, monkeypatch):
    save(tmp_path / "7", FILES, "run")
    assert {name: (tmp_path / "7" / "item" / name).read_bytes() for name in FILES} == FILES
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert FILES.items() <= restore(tmp_path / "7", "run").items()


def test_only_the_first_process_writes_the_files_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    FilesHandler().save(tmp_path, FilesSave(FILES, "run"))
    assert list(tmp_path.iterdir()) == []
