# SPDX-License-Identifier: Apache-2.0
"""What is good and what is bad about a clip, before anybody waits for an avatar of it.

    findings = checked(video, capture, landmarks, track)

Every finding has its number, a grade, why it matters and how to mend it.
"""

from avatar3d.data_prep.check.all import Examined, checked
from avatar3d.data_prep.check.finding import Finding, Grade, worst

__all__ = ["Examined", "Finding", "Grade", "checked", "worst"]
