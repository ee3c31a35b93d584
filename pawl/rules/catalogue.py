"""Every rule of the doctor, by code.

Left out: the rules themselves, which stand with their kin in the other files of this folder, and
what a diagnosis makes of their findings (`pawl.doctor.diagnose`).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pawl.rules
from pawl.rules.rule import Rule

APART = ("catalogue", "page")  # the files that read this list
MODULES = [
    import_module(f"pawl.rules.{file.name}")
    for file in iter_modules(pawl.rules.__path__)
    if file.name not in APART
]
RULES: tuple[Rule, ...] = tuple(
    sorted(
        (value for module in MODULES for value in vars(module).values() if isinstance(value, Rule)),
        key=lambda rule: rule.code,
    )
)
