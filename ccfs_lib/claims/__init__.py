"""The paper's claims, tested on results.

compare (two arms, paired by seed), arms (which rows a claim is about), trends (claims
about a whole series), ledger (every claim and its verdict).
"""
