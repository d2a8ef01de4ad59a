"""The digest of a sealed JSON file tells of damage to the values, to itself, and to its own name."""

import json

import pytest

from experiments.output.json_files import SEAL, read_json, sealed, unsealed, write_sealed

VALUE = {"steps": 4, "device": "CPU, 2 cores", "commit": "6c8f28addbaa294deca9b059d853331e0aa07ca9", "code": {}}


@pytest.mark.parametrize("name", ["sha257", "Sha256", "sha", ""])
def test_a_digest_under_another_name_is_a_changed_file(tmp_path, name):
    write_sealed(tmp_path / "a.json", VALUE)
    assert read_json(tmp_path / "a.json") == VALUE
    content = json.dumps(sealed(VALUE)).replace(f'"{SEAL}"', f'"{name}"').replace('"steps": 4', '"steps": 5')
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="a.json' cannot be read: its content has changed"):
        read_json(tmp_path / "a.json")


def test_an_object_without_a_digest_is_read_as_it_is():
    for last in (VALUE["commit"], f"runs/{VALUE['commit']}"):
        assert unsealed({"steps": 4, "last": last}) == {"steps": 4, "last": last}
    assert unsealed(VALUE) == VALUE and unsealed({}) == {} and unsealed({"a": "long " * 20}) == {"a": "long " * 20}
