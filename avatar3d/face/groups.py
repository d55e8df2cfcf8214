# SPDX-License-Identifier: Apache-2.0
"""Named groups of MediaPipe's 478 landmarks (468 mesh vertices, then 5 points of each iris). Right is the person's.

Loops run once around; the four points of an eyelid ratio are given as (outer, inner, upper pairs, lower pairs).
"""

from __future__ import annotations

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
LIPS = INNER_LIPS + OUTER_LIPS
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
RIGHT_BROW = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
LEFT_BROW = (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
RIGHT_IRIS, LEFT_IRIS = 468, 473
CHIN = (152, 148, 377, 176, 400, 149, 378, 150, 379)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
# points of the picture's outline: they slide over the skin as the head turns, so they say nothing about a vertex
SILHOUETTE = (93, 127, 132, 234, 323, 356, 361, 454)
# corner to corner, and the two upper-lower pairs whose mean height over that width is the eye aspect ratio
RIGHT_LID_RATIO = ((33, 133), ((160, 144), (158, 153)))
LEFT_LID_RATIO = ((362, 263), ((385, 380), (387, 373)))
# the upper and the lower lid's points that meet when the eye closes, from the outer corner to the inner one
RIGHT_LID_PAIRS = tuple((RIGHT_EYE[at], RIGHT_EYE[-at]) for at in range(1, 8))
LEFT_LID_PAIRS = tuple((LEFT_EYE[at], LEFT_EYE[-at]) for at in range(1, 8))
# upper-lower pairs of the inner lips whose mean distance is the mouth's opening
APERTURE_PAIRS = ((13, 14), (82, 87), (312, 317))
# vertices for the 68 points of iBUG's scheme, by which FAN and OpenFace number a face: outline, brows, nose, eyes,
# outer and inner lips
IBUG = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,
    78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip
IBUG_OUTLINE = 17  # the first points: where they lie on the skin depends on whom one asks
