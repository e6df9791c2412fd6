"""Results as a file of JSON: a line for each workload, so that it can be looked at.

Owns: what is written and what is read back. Samples are kept, every one of them, as
rows of numbers under the names of their fields.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.measure import Outcome
from bench.proxy import Traffic

DIGITS = 4


def write_results(path: Path, raw: dict[str, Any]) -> None:
    """Write what a run has found."""
    head = {key: value for key, value in raw.items() if key != "loops"}
    lines = [json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "loops": {']
    for number, (loop, outcomes) in enumerate(raw["loops"].items()):
        lines.append(f"  {json.dumps(loop)}: [")
        rows = [json.dumps(packed(outcome), ensure_ascii=False) for outcome in outcomes]
        lines.append(",\n".join(f"   {row}" for row in rows))
        lines.append("  ]" + ("," if number + 1 < len(raw["loops"]) else ""))
    lines.append(" }\n}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def packed(outcome: dict[str, Any]) -> dict[str, Any]:
    """An outcome whose samples are columns: {"wall": [...], "cpu": [...]}."""
    samples = {
        name: {key: [rounded(sample[key]) for sample in rounds] for key in rounds[0]}
        for name, rounds in outcome["samples"].items()
        if rounds
    }
    traffic = {
        name: {key: rounded(value) for key, value in one.items()}
        for name, one in outcome["traffic"].items()
    }
    return {**outcome, "samples": samples, "traffic": traffic}


def rounded(value: float) -> float:
    """With as many digits as are worth keeping."""
    return float(f"{value:.{DIGITS}g}")


def read_results(path: Path) -> dict[str, Any]:
    """What a run has found; under "loops" lists of `Outcome`."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    raw["loops"] = {
        loop: [unpacked(outcome) for outcome in outcomes]
        for loop, outcomes in raw["loops"].items()
    }
    return raw


def unpacked(fields: dict[str, Any]) -> Outcome:
    """An outcome from its line."""
    samples: dict[str, Any] = {
        name: [
            SimpleNamespace(**dict(zip(columns, values, strict=True)))
            for values in zip(*columns.values(), strict=True)
        ]
        for name, columns in fields["samples"].items()
    }
    traffic = {name: Traffic(**one) for name, one in fields["traffic"].items()}
    return Outcome(**{**fields, "samples": samples, "traffic": traffic})
