"""Gives change with few coins."""

COINS = (1, 7, 10, 25)


# EVOLVE-BLOCK-START
def change(amount, coins):
    """Coins that make up the amount."""
    given = []
    for coin in sorted(coins, reverse=True):
        while amount >= coin:
            given.append(coin)
            amount -= coin
    return given


# EVOLVE-BLOCK-END


def run_experiment(seed):
    amount = 10 * seed + 4
    return amount, change(amount, COINS)
