"""What is said of a name that nobody knows."""

import pytest

from common.names import check_name

KNOWN = ["lstm", "gru", "transformer"]


@pytest.mark.parametrize(
    ("name", "instead", "said"),
    [
        ("lsmt", "", "unknown core 'lsmt': did you mean 'lstm'? choose from lstm, gru, transformer"),
        ("rhinoceros", "", "unknown core 'rhinoceros': choose from lstm, gru, transformer"),
        ("", "", "unknown core '': choose from lstm, gru, transformer"),
        ("a\nb", "", "unknown core 'a\\nb': choose from lstm, gru, transformer"),
        (
            "gruu",
            "a file",
            "unknown core 'gruu': did you mean 'gru'? choose from lstm, gru, transformer, or give a file",
        ),
    ],
)
def test_an_unknown_name(name, instead, said):
    for known in (KNOWN, tuple(KNOWN), dict.fromkeys(KNOWN)):
        check_name("core", "gru", known, instead)
        with pytest.raises(ValueError) as error:
            check_name("core", name, known, instead)
        assert str(error.value) == said
