import orbax.checkpoint as ocp

from zoo.checkpoints.files import HostFilesHandler, HostFilesRestore, HostFilesSave

FILES = {"0.iterator.index": b"\0\1", "positions.json": b"{}"}


def save(folder, files) -> None:
    handler = ocp.CompositeCheckpointHandler(stream=HostFilesHandler())
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder, ocp.args.Composite(stream=HostFilesSave(files)))


def restore(folder) -> dict[str, bytes]:
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(folder, ocp.args.Composite(stream=HostFilesRestore())).stream


def test_a_process_gets_its_own_files_back(tmp_path, monkeypatch):
    save(tmp_path / "7", FILES)
    assert restore(tmp_path / "7") == FILES
    assert {path.name for path in (tmp_path / "7" / "stream").glob("process_*")} == {"process_0"}
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert restore(tmp_path / "7") == {}
