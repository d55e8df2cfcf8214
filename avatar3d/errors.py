# SPDX-License-Identifier: Apache-2.0
"""What the user can mend is an InputError; every other exception is a fault of ours."""


class InputError(ValueError):
    """Bad input: says what is wrong, where, and what to do about it.

    The command line shows `str(error)` on one line and leaves with exit code 2; no traceback.

    Args:
        what: the fault and the place, for example "talk.mp4: no video track in this file".
        remedy: the next thing to try, for example "give a file that a video player shows".
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy
