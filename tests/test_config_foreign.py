"""Names of options in other libraries: each leads to an option that there is, anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl.config.foreign import advice, names
from pawl.config.load import load_run
from pawl.config.options import RunConfig, SftConfig
from pawl.config.tree import options
from pawl.errors import PawlErrors

RUN, SFT = ({path for path, _ in options(model)} for model in (RunConfig, SftConfig))


@pytest.mark.parametrize("name", names())
def test_every_name_leads_to_an_option_or_says_why_there_is_none(name: str) -> None:
    _, ours = names()[name]
    option = ours.partition(": ")[0]
    assert name not in RUN | SFT, "it is our own"
    assert " " in option or option in RUN | SFT
    assert option in (advice(name, RUN) or advice(name, SFT))
    assert advice(f"anywhere.{name}", RUN | SFT) == advice(name, RUN | SFT)


def test_the_longest_ending_decides() -> None:
    assert "`eval.samples`" in advice("actor_rollout_ref.rollout.val_kwargs.n", RUN)
    assert "`rollout.group_size`" in advice("actor_rollout_ref.rollout.n", RUN)
    assert advice("n", RUN) == advice("optim.n", RUN) == ""
    assert "`epochs`" in advice("num_train_epochs", SFT)


def test_a_section_is_one_error_that_translates_what_it_holds(tmp_path: Path) -> None:
    """Misspelt names stay misspelt names."""
    file = tmp_path / "run.yaml"
    file.write_text("args: {learning_rate: 1, beta: 2}\noptim: {beta: 1}\n")
    with pytest.raises(PawlErrors) as caught:
        load_run(file, [], {})
    section, sibling = caught.value.errors
    assert (section.what, section.where) == ("unknown option `args`", f"{file}:1")
    assert "`optim.lr`" in section.hint and "`algo.kl_coef`" in section.hint
    assert sibling.hint.startswith("did you mean `optim.beta")
