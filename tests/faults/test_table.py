"""The table of faults: its rows add up, and it is complete only with enough faults and none that is bad."""

from collections import Counter

from tests.faults.table import KINDS, is_complete, table


def test_rows_add_up_and_bad_outcomes_make_it_incomplete():
    counted = Counter({(kind, "named"): least for kind, (least, _) in KINDS.items()})
    counted["kills", "exact"] = 3
    assert is_complete(counted) and not is_complete(counted + Counter({("kills", "lost"): 1}))
    assert not is_complete(counted - Counter({("signals", "named"): 1}))
    rows = dict(line.strip("| ").split(" | ", 1) for line in table(counted).splitlines() if line.startswith("| "))
    assert rows["kills"] == "53 | 3 | 50 | 0 | 0 | 0"
    total = sum(least for least, _ in KINDS.values()) + 3
    assert rows["all"].startswith(f"{total:,} | 3 | ")
