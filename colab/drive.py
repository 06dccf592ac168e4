"""A folder on Google Drive, whose files outlive the runtime."""

import importlib

MOUNT = "/content/drive"


class DriveError(Exception):
    """There is no Drive here; the message says what to do."""


def folder_on_drive() -> str:
    """Mount the Drive of a Colab session and return the folder for runs on it.

    Raises DriveError outside of Colab.
    """
    try:
        drive = importlib.import_module("google.colab.drive")
    except ModuleNotFoundError as error:
        raise DriveError("only Colab has a Drive to mount: write USE_DRIVE = False") from error
    drive.mount(MOUNT)
    return f"{MOUNT}/MyDrive/gpt-zoo"
