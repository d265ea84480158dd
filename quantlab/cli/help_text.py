"""Help of a command: what it does, examples, exit codes; the same shape for all."""

from collections.abc import Sequence

INCONCLUSIVE = 3

EXIT_CODES = {
    0: "done, or nothing to do",
    1: "a check failed: lint found errors, or the drop is larger than allowed",
    2: "wrong usage",
    INCONCLUSIVE: "inconclusive: too few samples to tell",
    4: "bad input",
    5: "stale: an artefact was made from something else",
    6: "the machine: disk full, no permission, no memory",
    70: "an error inside quantlab",
    75: "busy: another command works there; try again later",
    130: "interrupted",
    141: "the reader of the output went away (a closed pipe)",
}


def exit_code(standing: str) -> int:
    """Return what a target's standing means for a process."""
    return {"misses": 1, "undecided": INCONCLUSIVE}.get(standing, 0)


def described(text: str, *, examples: Sequence[str], exits: Sequence[int] = (0, 2, 4, 5, 6, 75, 130)) -> str:
    """Return the help text; every command may be interrupted; a backspace before a paragraph keeps its lines apart."""
    listed = "\n".join(f"  {line}" for line in examples)
    codes = "\n".join(f"  {code}  {EXIT_CODES[code]}" for code in sorted({*exits, 130}))
    return f"{text}\n\n\b\nExamples:\n{listed}\n\n\b\nExit codes:\n{codes}"
