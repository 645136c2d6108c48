"""Checkpoints that are whole or not there, that any number of ranks can read, and that say so.

A checkpoint is a folder `step-00001000/`::

    shard-*.safetensors    tensors, each rank's share in a file of its own
    state.json             numbers and words
    manifest.json          step, version, ranks, size and SHA-256 of every other file

`torch.distributed.checkpoint` divides and reassembles the tensors; nothing in the folder is a
pickle. It is written under another name, synced and renamed, so a kill at any moment leaves the
previous ones untouched, and the manifest comes last, so that half a folder never looks whole. A
`step-` folder without a manifest is therefore a damaged one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from adana.runs import RunError, json_text, read_json
from adana.train import dcp
from adana.train.world import World, lost_contact

CHECKPOINT_VERSION = 2
"""Raised when the files change their meaning. 1 was a single `state.pt`."""

_PREFIX = "step-"
_BROKEN = ".broken-"
UNFINISHED = ".unfinished-"
"""What the name of a folder begins with until it is a whole checkpoint."""
_GOING = f"{UNFINISHED}going-"
STATE, MANIFEST = "state.json", "manifest.json"


class CheckpointVersionError(RunError):
    """A whole checkpoint in a format of another version: to be kept, not to be passed over."""


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    plain: Mapping[str, Any],
    *,
    keep: int,
    keep_every: int | None = None,
    world: World,
) -> Path:
    """Write the checkpoint of `step`, then drop older ones. Every rank calls it.

    The newest `keep` stay, and those of multiples of `keep_every` steps. `tensors` may be DTensors,
    of which each rank writes its part; `plain` must be JSON.

    Raises:
        RunError: it could not be written (a full disk, say); older checkpoints are untouched.
    """
    final = folder / f"{_PREFIX}{step:08d}"
    unfinished = folder / f"{UNFINISHED}{final.name}"
    try:
        world.decide(lambda: _start(unfinished))
        _write_tensors(unfinished, tensors, world)
        files = world.together(lambda: _describe_own(unfinished, world))
        described = {name: what for own in world.gather(files) for name, what in own.items()}
        manifest = {"version": CHECKPOINT_VERSION, "step": step, "ranks": world.size}
        world.decide(lambda: _complete(unfinished, final, plain, {**manifest, "files": described}))
    except (OSError, RuntimeError, SafetensorError, dcp.CheckpointException) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        cause = _cause(error)
        if not isinstance(cause, OSError | SafetensorError | RunError):
            raise  # a lost rank, say: nothing that free space would cure
        raise RunError(
            f"cannot write the checkpoint {final}: {_reason(cause)}. Earlier checkpoints are "
            "intact. Free some space, then run the same command again to go on."
        ) from error
    if world.first:
        _drop_older(folder, step, keep, keep_every)
    return final


def _drop_older(folder: Path, step: int, keep: int, keep_every: int | None) -> None:
    """Leave the newest `keep` up to `step`, and multiples of `keep_every`.

    One that is past `step` was found broken and could not be renamed: it counts for nothing.
    """
    there = [path for path in list_checkpoints(folder) if checkpoint_step(path) <= step]
    for old in there[:-keep]:
        if not keep_every or checkpoint_step(old) % keep_every:
            with contextlib.suppress(OSError):  # it is tried again after the next
                remove_checkpoint(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first."""
    return [path for path in checkpoint_folders(folder) if (path / MANIFEST).exists()]


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return all checkpoints in `folder`, oldest first, those that lost their manifest included.

    Folders of other names, such as copies, are none.
    """
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.is_dir()]
    return sorted(path for path in found if path.name.removeprefix(_PREFIX).isdecimal())


def checkpoint_step(path: Path) -> int:
    """Return the number of completed steps of a checkpoint, from the folder's name."""
    return int(path.name.removeprefix(_PREFIX))


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Check every file of a checkpoint and return its plain values.

    Raises:
        RunError: a file is missing, truncated or altered.
        CheckpointVersionError: another version wrote it.
    """
    manifest = read_json(path / MANIFEST)
    version = manifest.get("version", 1)
    if version != CHECKPOINT_VERSION:
        raise CheckpointVersionError(
            f"{path} has checkpoint version {version!r}, this adana reads {CHECKPOINT_VERSION}. "
            "Go on with the adana that wrote it (environment.json names it), or train into a new "
            "directory."
        )
    _check_sizes(path, manifest["files"])
    for name, expected in manifest["files"].items():
        file = path / name
        if _sha256(file) != expected["sha256"]:
            raise RunError(f"{file} was altered after it was written: its checksum does not match")
    return {**read_json(path / STATE), "step": manifest["step"], "ranks": manifest["ranks"]}


def newest_identity(folder: Path) -> str | None:
    """Return of which run the newest readable checkpoint in `folder` is; None if there is none.

    Its files are not checked.
    """
    for path in reversed(list_checkpoints(folder)):
        with contextlib.suppress(RunError, KeyError, TypeError):  # an older one will tell
            return str(read_json(path / STATE)["identity"])
    return None


def looks_whole(path: Path) -> bool:
    """Whether all files of a checkpoint are there in their sizes; their content is not read."""
    try:
        _check_sizes(path, read_json(path / MANIFEST)["files"])
    except (RunError, OSError, KeyError, TypeError):
        return False
    return True


def _check_sizes(path: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, expected in files.items():
        file = path / name
        size = file.stat().st_size if file.exists() else None
        if size is None:
            raise RunError(f"{file} is missing")
        if size != expected["bytes"]:
            raise RunError(f"{file} is truncated: {size} bytes, expected {expected['bytes']}")


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint, so that a kill on the way leaves nothing that looks like one.

    Raises `OSError` if something of it is left.
    """
    going = path.with_name(f"{_GOING}{path.name}")
    _move(path, going)
    shutil.rmtree(going)


def _move(path: Path, to: Path) -> None:
    """Rename a folder, in place of one of that name."""
    if to.exists():
        shutil.rmtree(to)
    os.rename(path, to)


def newest_whole(folder: Path, on_message: Callable[[str], None]) -> tuple[Path, dict] | None:
    """Return the newest checkpoint that verifies and its plain values, or None if there are none.

    Broken ones that are newer are renamed to `.broken-...` with a message: training from an older
    one gives the same result.

    Raises:
        RunError: there are checkpoints, and all are broken; or one cannot be read at the moment.
        CheckpointVersionError: one is of another version.
    """
    broken: dict[Path, str] = {}
    for path in reversed(checkpoint_folders(folder)):
        try:
            plain = verify_checkpoint(path)
        except CheckpointVersionError:
            raise
        except OSError as error:
            raise RunError(
                f"{path} cannot be read: {error.strerror or error}. Nothing was changed. Check the "
                "disk or the network file system, then run the same command again."
            ) from error
        except (RunError, KeyError, TypeError, AttributeError) as error:
            broken[path] = str(error)
            continue
        for each, why in broken.items():
            on_message(f"passing over a broken checkpoint: {why}")
            with contextlib.suppress(OSError):  # it is passed over again the next time
                _move(each, each.with_name(f"{_BROKEN}{each.name}"))
        return path, plain
    if broken:
        raise RunError(
            f"none of the {len(broken)} checkpoints in {folder} is whole: "
            f"{'; '.join(broken.values())}. Restore one from a backup, or delete "
            "the folder to train from the beginning."
        )
    return None


def read_tensors(path: Path, tensors: Mapping[str, Tensor], world: World | None = None) -> None:
    """Fill `tensors` in place from a verified checkpoint, each rank its part of DTensors.

    Names the checkpoint has and `tensors` lacks are left alone.

    Raises:
        RunError: a name is missing there, or has another shape.
    """
    alone = world is None or world.size == 1
    try:
        with _quiet():
            reader = dcp.HuggingFaceStorageReader(str(path))
            dcp.load(dict(tensors), storage_reader=reader, no_dist=alone)
    except (OSError, RuntimeError, ValueError, SafetensorError, dcp.CheckpointException) as error:
        cause = _cause(error)
        if isinstance(cause, OSError):
            raise RunError(
                f"{path} cannot be read: {_reason(cause)}. Check that every rank sees the file "
                "system, then run the same command again."
            ) from error
        if lost_contact(cause):
            raise
        raise RunError(
            f"{path} does not hold this model: {_reason(cause)}. It belongs to another "
            "configuration: train into a new directory, or delete the checkpoint to start over."
        ) from error


def _start(unfinished: Path) -> None:
    """Make an empty folder, and clear what a killed process left of others."""
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    for leftover in unfinished.parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir()


def _write_tensors(folder: Path, tensors: Mapping[str, Tensor], world: World) -> None:
    writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _quiet():
        dcp.save(dict(tensors), storage_writer=writer, no_dist=world.size == 1)


def _describe_own(folder: Path, world: World) -> dict[str, dict[str, Any]]:
    """Sync and measure the files that this rank wrote: named by it, counted from 1."""
    return {file.name: describe(file) for file in folder.glob(f"shard-{world.rank + 1:05d}-*")}


def describe(file: Path) -> dict[str, Any]:
    """Return what a manifest says of a file, after seeing it onto the disk."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _complete(
    unfinished: Path, final: Path, plain: Mapping[str, Any], manifest: dict[str, Any]
) -> None:
    there = {path.name for path in unfinished.iterdir()}
    if there != manifest["files"].keys():
        raise OSError(f"the ranks wrote {sorted(manifest['files'])}, there are {sorted(there)}")
    finish_checkpoint(unfinished, final, plain, manifest)


def finish_checkpoint(
    unfinished: Path, final: Path, plain: Mapping[str, Any], manifest: Mapping[str, Any]
) -> None:
    """Turn a folder that holds its tensors into a checkpoint with these plain values.

    Raises `OSError` if it cannot be written.
    """
    state = _write_synced(unfinished / STATE, plain)
    files = {**manifest["files"], STATE: state}
    _write_synced(unfinished / MANIFEST, {**manifest, "files": files})
    _sync_folder(unfinished)
    if final.exists():
        remove_checkpoint(final)
    os.rename(unfinished, final)
    _sync_folder(final.parent)


def _write_synced(file: Path, value: Any) -> dict[str, Any]:
    """Write JSON where nobody reads yet; return what a manifest says of the file."""
    file.write_text(json_text(value))
    return describe(file)


def _cause(error: BaseException) -> BaseException:
    """Return the error of the rank that failed, without the wrapping that torch adds."""
    if isinstance(error, dcp.CheckpointException) and error.failures:
        return next(iter(error.failures.values()))[0]
    return error


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch says about its own internals, and about there being one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*TypedStorage.*")
        warnings.filterwarnings("ignore", message=".*torch.distributed is disabled.*")
        yield


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can sync a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
