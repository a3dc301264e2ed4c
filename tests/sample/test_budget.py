"""Reservations of a budget end for those who wait for them."""

from __future__ import annotations

import asyncio

from overnight.tasks.sample.budget import Budget, BudgetLimits, Estimate


def test_ten_answers_of_a_tenth_of_a_limit_reach_it():
    budget = Budget()
    budget.limits = BudgetLimits(night_usd=0.1)
    budget.night_usd = sum([0.01] * 10)
    assert budget.night_usd < 0.1
    assert budget.is_spent()
    budget.night_usd = sum([0.01] * 9)
    assert budget.has_room(Estimate(0.01, 1))


def test_a_request_that_waited_for_a_batch_to_end_is_sent():
    budget = Budget()
    budget.limits = BudgetLimits(night_usd=1.0)

    async def ask() -> bool:
        async with budget.reserve(Estimate(0.5, 1)) as fits:
            return fits

    async def batch_and_question() -> bool:
        async with budget.reserve_unconditionally(Estimate(0.9, 1)):
            question = asyncio.create_task(ask())
            await asyncio.sleep(0)
            assert not question.done()
        return await asyncio.wait_for(question, 10)

    assert asyncio.run(batch_and_question())
