"""Write prompts from plans: the programs shown, the base last, what is told of them, and what is asked for."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from overnight.schemas.algorithm import Plan
from overnight.schemas.feedback import Feedback
from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.operators import Operator, says_size
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.program import TUNER, Program, Prompt
from overnight.schemas.sampling_settings import Model
from overnight.schemas.scores import are_level, score_text
from overnight.schemas.settings import Settings
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.program import python_source
from overnight.tasks.sample.agent_prompts import agent_prompt
from overnight.tasks.sample.codecs import ANY_IDEA, EARLIER_TRY, FIRST_TRY, LAST_TRY, PromptContent, codec_of
from overnight.tasks.sample.facts import packages_in_words, system_message
from overnight.tasks.sample.prompt_scores import (
    beside_score,
    format_metrics,
    format_scores,
    measured_line,
    score_note,
    told_metrics,
)

_MAX_LISTED = 12
"""Inputs that are listed by number."""


_LEAST_NOTE = 80
"""Least room for a part of a note, characters."""

_FRAME_CHARS = 120
"""Characters of the text around the parts of the feedback."""

_TOLD_APART = "Others are asked the same at this moment. So that your answer differs, follow this line of thought:"
"""Words before the line of thought of a prompt that asks the same as another one in flight."""

_TAKE_FROM = "Combine the last version with what can help it from the first, which goes another way and scores less."
"""Request to combine two programs with one input, on which one of them is better and the other is not."""

_BRING_TOGETHER = (
    "The first one is far better than the last: build on what makes it so, bring into it what the last one does "
    "otherwise and can help, and do better than both."
)
"""Request to combine a base with the best program, which is as good on every input."""

_OF_GAP = "Of the programs that none beats in everything, these two have the widest gap between them:"
"""Words before the ends of the gap of the front that a prompt asks for."""

_OF_A_LINE = "Change what is there, or put something else in its place, so that the score rises."
"""Request for a change of a body of one line, of which nothing else can be kept as it is."""

_FAILURE_CHARS = 3_000
"""Limit on the error and the output of a failed program that is to be repaired, characters."""


def build_prompts(
    plans: Mapping[int, Plan], problem: Problem, *, seed: int, generation: int, start: Program | None = None
) -> list[Prompt]:
    """Write one prompt for each plan; its model is drawn by weight.

    Args:
        plans: Niches and programs to show, from the algorithm, by the index of the prompt.
        problem: The problem, whose settings have the models and the size of a generation.
        seed: Seed of the run.
        generation: Number of the generation; with the seed it settles everything random.
        start: The start program, whose scores say what the file does not; `None` if it was not scored yet.
    """
    search, models = problem.settings.search, problem.settings.sampling.prompted
    rng = random.Random(f"{seed}/{generation}/prompts")
    drawn = rng.choices(models, [model.weight for model in models], k=search.prompts)
    seeds = [tuple(rng.getrandbits(32) for _ in range(search.samples)) for _ in range(search.prompts)]
    by_name = {model.name: model for model in problem.settings.sampling.models}
    system = system_message(problem, start) if search.tells_facts else ""
    facts = system_message(problem, start).partition("\n\n")[2]  # without who the model is
    return [
        _tuning_prompt(index, plan, random.Random(f"{seed}/{generation}/{index}/tuner").getrandbits(32))
        if plan.operator is Operator.TUNE
        else _task_of_agent(index, plan, model, problem, facts)
        if (model := by_name.get(plan.model, drawn[index])).agent
        else _sampling_prompt(index, plan, model, seeds[index], problem, system)
        for index, plan in plans.items()
    ]


def _sampling_prompt(
    index: int, plan: Plan, model: Model, seeds: tuple[int, ...], problem: Problem, system: str
) -> Prompt:
    failed, shown, skeleton = plan.failed, tuple(program.id for program in plan.shown), problem.specification
    return Prompt(
        index=index,
        niche=plan.niche,
        parent_ids=(failed.program_id, *shown) if failed else shown,
        model=model.name,
        style=model.style,
        text=codec_of(skeleton.kind).render(skeleton, _content(plan, problem, model), model),
        seeds=seeds,
        base=failed.body if failed else plan.base.body,
        system=system if model.style == "chat" else "",
        operator=plan.operator or "",
        base_id=failed.program_id if failed else plan.base.id,
        base_score=None if failed else plan.base.score,
    )


def _task_of_agent(index: int, plan: Plan, model: Model, problem: Problem, facts: str) -> Prompt:
    """Return the task of an agent, as a prompt with a sample for each program that it may have scored."""
    prompt = _sampling_prompt(index, plan, model, (0,) * (problem.settings.agent.evaluations + 1), problem, "")
    return replace(prompt, text=agent_prompt(problem, _content(plan, problem, model), facts))


def _tuning_prompt(index: int, plan: Plan, seed: int) -> Prompt:
    """Write what stands for a prompt where the tuner answers, without ids, which differ between runs."""
    return Prompt(
        index=index,
        niche=plan.niche,
        parent_ids=(plan.base.id,),
        model=TUNER,
        style="chat",
        text=f"Optimize the numbers of this program.\n\n{plan.base.body}",
        seeds=(seed,),
        base=plan.base.body,
        operator=Operator.TUNE,
    )


def _content(plan: Plan, problem: Problem, model: Model) -> PromptContent:
    """Return what a prompt shows to a model; one that continues text is told neither facts nor feedback."""
    settings, is_chat = problem.settings, model.style == "chat"
    tells_facts = settings.search.tells_facts and is_chat
    chars, notes_chars = settings.search.feedback_chars, settings.search.notes_chars
    chars, notes_chars = (chars, notes_chars) if is_chat else (0, 0)
    failed = plan.failed
    bodies = [program.body for program in plan.shown]
    metrics = [told_metrics(program, problem) if notes_chars else {} for program in plan.shown]
    is_first = not plan.base.is_scored
    shown = zip(plan.shown, metrics, strict=True)
    sample = problem.has_other_inputs
    notes = (
        [score_note(*one, plan, settings, is_sample=sample) for one in shown] if tells_facts and not is_first else []
    )
    if failed:
        bodies.append(failed.body)
        notes.append(failure_note(failed))
    return PromptContent(
        bodies=tuple(bodies),
        notes=tuple(notes),
        statement=settings.statement,
        has_system_message=tells_facts,
        packages=packages_in_words(problem) if tells_facts else "",
        feedback=_feedback(plan, problem, chars, notes_chars, measures=tells_facts and not is_first),
        tried=plan.tried,
        instruction=instruction(plan, problem, names_size=not model.agent),
        is_best=plan.best is None,
        shows_best=plan.best is not None and not failed and plan.best in plan.shown[-2:-1],
        is_repair=failed is not None,
        is_first=is_first,
        builds_on_last=plan.operator is not Operator.FRESH,
        aim=plan.operator.facts.aim if plan.operator else "",
    )


def _feedback(plan: Plan, problem: Problem, chars: int, notes_chars: int, *, measures: bool) -> str:
    """Return what is told of the last version shown, and of a child that did not do better."""
    if plan.failed:
        said = format_notes(plan.failed.notes, plan.failed.scores, notes_chars)
        parts = [describe_failure(plan.failed, _FAILURE_CHARS), said and f"The scoring says of it:\n\n{said}"]
        return "\n\n".join(filter(None, parts))
    said = format_notes(plan.base.notes, plan.base.scores, notes_chars)
    worse = render_feedback(plan, problem.specification, chars, problem.settings.objectives)
    of_worse = format_notes(plan.feedback.notes, plan.feedback.scores, notes_chars) if worse and plan.feedback else ""
    parts = [
        measured_line(plan.base, problem.settings.limits) if measures else "",
        describe_rivals(plan, notes_chars),
        said and f"The scoring says of the last version:\n\n{said}",
        worse,
        of_worse and f"The scoring says of that try:\n\n{of_worse}",
    ]
    return "\n\n".join(filter(None, parts))


def format_notes(notes: Sequence[str], scores: Sequence[float], chars: int) -> str:
    """Return notes as a block of text, those on the worst inputs first; empty if there are none, or no room.

    Each is whole where it fits. The first that does not has its beginning and its end, and the rest is left out.
    """
    known = dict(enumerate(scores))
    places = sorted((place for place, text in enumerate(notes) if text), key=lambda place: known.get(place, -math.inf))
    parts: list[str] = []
    for place in places:
        result = f"scores {known[place]:.6g}" if place in known else "no score"
        part = f"on input {place + 1} ({result}): {notes[place].strip()}"
        room = chars - sum(map(len, parts)) - len(parts)
        if room < min(len(part), _LEAST_NOTE):
            break
        parts.append(_head_and_tail(part, room))
    text = "\n".join(parts).replace("```", "'''")
    return f"```text\n{text}\n```" if text else ""


def _head_and_tail(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars // 2 - 2]}\n…\n{text[2 - chars // 2 :]}"


def describe_rivals(plan: Plan, chars: int) -> str:
    """Return what the programs of the front that are better than the base in an objective have; empty without any."""
    lines = [
        f"- score {rival.score:.6g}, {format_metrics(rival.metrics)}; the last version: score {plan.base.score:.6g}, "
        f"{format_metrics(plan.base.metrics)}"
        for rival in plan.rivals
    ]
    text = "\n".join(
        ["Other programs that none beats in everything do better than the last version in something:", *lines]
    )
    return text if lines and len(text) <= chars else ""


def instruction(plan: Plan, problem: Problem, *, names_size: bool = True) -> str:
    """Return what a prompt asks for beside a better program; `names_size` is whether it says how much may change."""
    settings, is_left_out = problem.settings, says_size(plan.operator) and not names_size
    parts = [] if is_left_out else [_request(plan)]
    if wanted := _wanted_of_front(plan, settings):
        parts = [
            wanted,
            *([] if is_left_out else [(plan.operator and plan.operator.facts.request_beside_score) or _request(plan)]),
        ]
    elif passed := _passed_known(plan, problem):
        parts.insert(0, passed)
    if plan.angle:
        parts.append(f"{_TOLD_APART} {plan.angle}.")
    return " ".join(parts)


def _wanted_of_front(plan: Plan, settings: Settings) -> str:
    """Return what is wanted in place of a better score; a person's hint and a repair ask for what they ask."""
    names, optimum = ", ".join(settings.objectives.metrics), settings.known.optimum
    if not names or not plan.base.is_scored or plan.operator in (Operator.HINT, Operator.REPAIR):
        return ""
    if plan.gap:
        ends = [
            f"one that scores {score_text(one.score)} with {beside_score(one.metrics, settings.objectives)}"
            for one in plan.gap
        ]
        return f"{_OF_GAP} {ends[0]}, and {ends[1]}: write one that lies between them, and that neither beats in both."
    if optimum is not None and plan.base.score >= optimum:
        return f"No score is better than its own, which is proven: keep it, and do better in {names}."
    return (
        f"Keep its score, and do better in {names}: that counts as much as a better score." if plan.keeps_score else ""
    )


def _passed_known(plan: Plan, problem: Problem) -> str:
    """Return that the best known score is passed, in words; empty if it is not, or may be of other inputs."""
    settings, best = problem.settings, plan.best or plan.base
    known = settings.known.best
    if (
        known is None
        or settings.known.split != "train"
        or problem.has_other_inputs
        or not settings.search.tells_facts
        or plan.failed
        or best.score <= known
        or are_level(best.score, known, settings.noise)
    ):
        return ""
    which = "The best of this search" if plan.best else "The last version"
    return f"{which} scores more than the best known score already: go on beyond it."


def _request(plan: Plan) -> str:
    match plan.operator:
        case None:
            return ANY_IDEA
        case Operator.TACTIC:
            return f"Small changes have stopped helping. Take a different approach: {plan.tactic}."
        case Operator.FRESH if plan.tactic:
            return f"Make it {plan.tactic}."
        case Operator.REFINE if "\n" not in plan.base.body.strip():
            return _OF_A_LINE
        case Operator.CROSS if _is_behind(plan):
            return _BRING_TOGETHER
        case Operator.CROSS if len(plan.base.scores) < 2:
            return _TAKE_FROM
        case Operator.CROSS:
            return f"{Operator.CROSS.facts.request}{_strengths(plan.shown)}"
        case Operator.HINT if plan.tactic:
            return f"Follow what a person suggests who watches the search:\n\n{plan.tactic}\n"
        case Operator.REPAIR if plan.failed and plan.failed.idea:
            return f"{Operator.REPAIR.facts.request.removesuffix('.')}: {plan.failed.idea.rstrip('.')}."
        case operator:
            return operator.facts.request


def _is_behind(plan: Plan) -> bool:
    """Return whether the best program is shown first, and no worse than the base on any input."""
    first = plan.shown[0]
    is_best = plan.best is not None and first.id == plan.best.id
    return is_best and all(one >= other for one, other in zip(first.scores, plan.base.scores, strict=False))


def failure_note(failed: Feedback) -> str:
    """Return what stands beside a failed program instead of its score."""
    return failed.outcome.facts.said


def _strengths(shown: tuple[Program, ...]) -> str:
    """Return on which inputs the first program is better than the base, and the reverse; empty if it is on none."""
    one, base = shown[0], shown[-1]
    pairs = list(enumerate(zip(one.scores, base.scores, strict=False), start=1))
    better = [number for number, (mine, theirs) in pairs if mine > theirs]
    worse = [number for number, (mine, theirs) in pairs if mine < theirs]
    if not better or len(base.scores) < 2:
        return ""
    has_level = len(better) + len(worse) < len(pairs)
    rest = f"{_inputs(worse)}; on the others they are level" if has_level else "the others"
    return f" The first one is better on {_inputs(better)}, the last one on {rest}."


def _inputs(numbers: Sequence[int]) -> str:
    """Return inputs by their numbers, in words: the first of many."""
    listed = ", ".join(map(str, numbers[:_MAX_LISTED])) + (", …" if len(numbers) > _MAX_LISTED else "")
    return f"input{'s' if len(numbers) > 1 else ''} {listed}" if numbers else "none"


def render_feedback(plan: Plan, skeleton: Skeleton, chars: int, objectives: Objectives = NO_OBJECTIVES) -> str:
    """Return the feedback as text; empty if there is none, or no room for it.

    What the last try changed is told as a diff where that is shorter than its code. Half of the characters are for it,
    a quarter each for the outcome and the output; what these leave is the change's, so that it is cut last.
    """
    feedback = plan.feedback
    if feedback is None or not chars:
        return ""
    tried_on = plan.tried_on or plan.base
    outcome = _cut(_describe_outcome(feedback, tried_on, plan, objectives), chars // 4)
    output = _cut(feedback.output.strip(), chars // 4, keep_end=True)
    printed = [f"It printed:\n\n```text\n{output}\n```"] if output else []
    room = max(chars // 2, chars - len(outcome) - sum(map(len, printed)))
    parts = [
        FIRST_TRY if not plan.base.is_scored else EARLIER_TRY if plan.tried_on else LAST_TRY,
        _changed_code(skeleton, tried_on.body, feedback.body, room),
        outcome,
        *printed,
    ]
    return "\n\n".join(parts)[: chars + _FRAME_CHARS]


def _changed_code(skeleton: Skeleton, base: str, body: str, chars: int) -> str:
    """Return a body as a diff against its base in a code block, or what of it is not in the base if that is shorter."""
    old, new = skeleton.bare_text(base), skeleton.bare_text(body)
    lines = difflib.unified_diff(old.split("\n"), new.split("\n"), "before", "that try", lineterm="", n=2)
    diff = "\n".join(lines)
    own = python_source.without_same(new, old) if skeleton.language == "python" else new
    kind, text = ("diff", diff) if diff and len(diff) < len(own) else (skeleton.language, own or new)
    return f"```{kind}\n{_cut(text, chars)}\n```"


def describe_failure(failed: Feedback, chars: int) -> str:
    """Return the outcome and the output of a failed program, its code left out; at most so many characters."""
    said = f"The last version {failed.outcome.facts.said}: {failed.error}".rstrip(": ")
    parts = [_cut(said, chars // 2, keep_end=True)]
    if output := _cut(failed.output.strip(), chars // 2, keep_end=True):
        parts.append(f"It printed:\n\n```text\n{output}\n```")
    return "\n\n".join(parts)


def _describe_outcome(feedback: Feedback, parent: Program, plan: Plan, objectives: Objectives) -> str:
    if feedback.outcome is not Outcome.SCORED or feedback.score is None:
        return f"It {feedback.outcome.facts.said}: {feedback.error}".rstrip(": ")
    reference = "that earlier version" if plan.tried_on else "the last version"
    both = score_text(feedback.score, parent.score), score_text(parent.score, feedback.score)
    text = f"It scored {both[0]}, {reference} {both[1]}."
    if are_level(feedback.score, parent.score):
        text = f"It scored {both[0]}, the same as {reference}."
    if own := beside_score(feedback.metrics, objectives):
        text = f"It scored {both[0]}, {own}; {reference} {both[1]}, {beside_score(parent.metrics, objectives)}."
    if len(feedback.scores) < 2:
        return text
    scores = format_scores(feedback.scores, parent.scores)
    return f"{text} On the inputs, in order: {scores}; {reference}: {format_scores(parent.scores, feedback.scores)}."


def _cut(text: str, chars: int, *, keep_end: bool = False) -> str:
    """Shorten a text to so many characters, and replace backticks that would end a fenced block."""
    text = text.replace("```", "'''")
    if len(text) <= chars:
        return text
    return f"…{text[len(text) - chars + 1 :]}" if keep_end else f"{text[: chars - 1]}…"
