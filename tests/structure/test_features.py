# SPDX-License-Identifier: Apache-2.0
"""docs/features.md: what is called done is shown by a test that exists."""

import re

from tree import ROOT, name

PAGE = ROOT / "docs" / "features.md"
STATES = {"done", "partly", "open"}


def rows():
    """(line number, number, state, [test]) of each row."""
    for line_number, line in enumerate(PAGE.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"\d+b?", cells[0]):
            assert len(cells) == 4, f"{name(PAGE)}:{line_number}: four columns, not {len(cells)}"
            shown_by = cells[3].replace("`", "")
            yield line_number, cells[0], cells[2], [t for t in re.split(r",\s*", shown_by) if t]


def what_is_wrong(test):
    """Why @test, "file" or "file::function", does not exist, or ""."""
    file, _, function = test.partition("::")
    path = ROOT / "tests" / file
    if not path.is_file():
        return f"no file tests/{file}"
    function = function.split("[")[0]
    definition = rf"^def {function}\(" if path.suffix == ".py" else rf"^[^\n=;]*\b{function}\("
    if function and not re.search(definition, path.read_text(), re.M):
        return f"no {function}() in tests/{file}"
    return ""


def test_every_feature_has_its_row():
    expected = [str(n) for n in range(1, 98)]
    expected.insert(expected.index("19") + 1, "19b")
    assert [number for _, number, _, _ in rows()] == expected


def test_states_are_known():
    wrong = [f"row {number}: '{state}'" for _, number, state, _ in rows() if state not in STATES]
    assert not wrong, "\n".join(wrong)


def test_what_is_done_is_shown():
    wrong = []
    for line, number, state, tests in rows():
        if state == "open":
            if tests:
                wrong.append(f"{name(PAGE)}:{line}: row {number} is open, yet names tests")
            continue
        if not tests:
            wrong.append(f"{name(PAGE)}:{line}: row {number} is {state}, and names no test")
        wrong += [f"{name(PAGE)}:{line}: row {number}: {reason}"
                  for reason in map(what_is_wrong, tests) if reason]
    assert not wrong, "\n".join(wrong)


def test_links_lead_somewhere():
    wrong = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                wrong.append(f"{name(page)}: {target}")
    assert not wrong, "\n".join(wrong)
