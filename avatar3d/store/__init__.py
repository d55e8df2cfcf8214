# SPDX-License-Identifier: Apache-2.0
"""Files on disk: the only room that knows file names and format versions.

A work folder holds what one video became (`Work`); an avatar folder is what one gives away (`AvatarFolder`). Everything
is written under a temporary name and then renamed, so a reader never meets half a file. Nothing is pickled.
"""

from avatar3d.store.avatar import AVATAR_SUFFIX, AVATAR_VERSION, LIVE_VOICE, SPLAT_TENSORS, AvatarFolder
from avatar3d.store.capture import (
    frames_writer,
    load_capture,
    load_landmarks,
    load_picture,
    load_sound,
    save_capture,
    save_picture,
    save_sound,
)
from avatar3d.store.files import (
    file_hash,
    key_of,
    load_arrays,
    load_tensors,
    read_json,
    replacing,
    sweep,
    write_arrays,
    write_json,
    write_tensors,
)
from avatar3d.store.mapped import let_go, streamed
from avatar3d.store.track import (
    load_motion,
    load_motion_made_from,
    load_track,
    motion_arrays,
    motion_from,
    save_motion,
    save_track,
)
from avatar3d.store.work import WORK_VERSION, Work

__all__ = [
    "AVATAR_SUFFIX",
    "AVATAR_VERSION",
    "LIVE_VOICE",
    "SPLAT_TENSORS",
    "WORK_VERSION",
    "AvatarFolder",
    "Work",
    "file_hash",
    "frames_writer",
    "key_of",
    "let_go",
    "load_arrays",
    "load_capture",
    "load_landmarks",
    "load_motion",
    "load_motion_made_from",
    "load_picture",
    "load_sound",
    "load_tensors",
    "load_track",
    "motion_arrays",
    "motion_from",
    "read_json",
    "replacing",
    "save_capture",
    "save_motion",
    "save_picture",
    "save_sound",
    "save_track",
    "streamed",
    "sweep",
    "write_arrays",
    "write_json",
    "write_tensors",
]
