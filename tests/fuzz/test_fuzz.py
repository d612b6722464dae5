"""Random input of every kind ends in one sentence or is used; `make fuzz` tries more of it, for minutes."""

import pytest
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, Phase, given, settings


@pytest.mark.parametrize("kind", list(TARGETS))
def test_random_input_ends_in_one_sentence_or_is_used(kind: str) -> None:
    target = TARGETS[kind]
    limits = settings(
        max_examples=target.examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    limits(given(target.inputs)(target.check))()
