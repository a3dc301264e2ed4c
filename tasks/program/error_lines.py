"""Name the place of an error by the line that a model wrote, and not by that of the whole program."""

from __future__ import annotations

import re

from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.program.specification import Specification

_INPUT = ", (?:on input |while it was loaded|after its last input)"
_PLACE = re.compile(
    rf"(?P<text>.*), in line (?P<line>[1-9][0-9]{{,8}})(?P<code> \(.*\))?(?P<input>{_INPUT}(?:(?!{_INPUT}).)*)",
    re.DOTALL,
)
"""The place in an error of the sandbox, at its end; the text before it is the program's, and may look like one."""

_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_STATEMENT = re.compile(r"@|def |import |from ")


def with_line_of_answer(error: str, specification: Specification, body: str, answer: str) -> str:
    """Return an error of a program with the line of the answer's code block in place of the program's.

    A line of the problem's file is told as that, and one that the answer does not have, by its code alone.

    Args:
        error: Error of the program that has the body.
        specification: The specification of the program.
        body: Body that was read from the answer.
        answer: Text of the model's answer.
    """
    if (found := _PLACE.fullmatch(error)) is None:
        return error
    place = _place(int(found["line"]), specification, body, answer) + (found["code"] or "")
    return f"{found['text']}{', in' if place else ''}{place}{found['input']}"


def _place(line: int, specification: Specification, body: str, answer: str) -> str:
    lines = split_lines(specification.with_body(body))
    evolved = specification.evolved_lines(body)
    if line not in evolved:
        number = _start_line(line, specification, body)
        return f" line {number} of the problem's file" if number else ""
    texts = [_without_version(lines[number - 1], specification) for number in evolved]
    text = texts[evolved.index(line)]
    written = _code_lines(answer)
    numbers = [number for number, own in written if _without_version(own, specification) == text]
    same = [number for number, own in zip(evolved, texts, strict=True) if own == text]
    return f" line {numbers[same.index(line)]}" if len(numbers) == len(same) else ""


def _start_line(line: int, specification: Specification, body: str) -> int:
    """Return the number in the problem's file of a line of a program that is not evolved; 0 if it has no such line."""
    before = sum(number < line for number in specification.evolved_lines(body))
    evolved = set(specification.evolved_lines(specification.start_body))
    numbers = range(1, len(split_lines(specification.with_body(specification.start_body))) + 1)
    return next(iter([number for number in numbers if number not in evolved][line - before - 1 :]), 0)


def _without_version(line: str, specification: Specification) -> str:
    return re.sub(rf"\b({'|'.join(map(re.escape, specification.evolved))})_v\d+\b", r"\1", line.strip())


def _code_lines(answer: str) -> list[tuple[int, str]]:
    """Return the lines of the code in an answer, each with its number in its code block, or from the first code on."""
    lines = split_lines(answer)
    has_fence = any(map(_FENCE.match, lines))
    found, number, is_code = list[tuple[int, str]](), 0, False
    for line in lines:
        if has_fence and _FENCE.match(line):
            is_code, number = not is_code, 0
            continue
        is_code = is_code or (not has_fence and _STATEMENT.match(line) is not None)
        if is_code:
            number += 1
            found.append((number, line))
    return found
