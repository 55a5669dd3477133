"""The paper's claims, tested on results.

compare (two arms, paired by seed), arms (which rows a claim is about), trends (claims
about a whole series), pairs (what is compared in a run), evidence (which tests are
independent, and what they say together), ledger (every claim and its verdict), written
(its numbers in digits), ladder (the steps from a random set to CCFS).
"""
