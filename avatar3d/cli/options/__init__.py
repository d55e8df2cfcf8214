# SPDX-License-Identifier: Apache-2.0
"""What each verb takes. A class is a verb, a field an option; `run` hands over to one recipe, imported only then."""

from avatar3d.cli.options._machine import Assets, Bench, Demo, Doctor
from avatar3d.cli.options._making import Check, Create, Import, Prepare, Prior, Train
from avatar3d.cli.options._seeing import View
from avatar3d.cli.options._shared import Verb
from avatar3d.cli.options._talking import Talk
from avatar3d.cli.options._using import Bake, Eval, Export, Info

__all__ = ["VERBS", "Verb"]

VERBS: dict[str, type[Verb]] = {
    "create": Create,
    "check": Check,
    "prepare": Prepare,
    "import": Import,
    "train": Train,
    "prior": Prior,
    "talk": Talk,
    "view": View,
    "eval": Eval,
    "export": Export,
    "bake": Bake,
    "bench": Bench,
    "demo": Demo,
    "info": Info,
    "assets": Assets,
    "doctor": Doctor,
}
