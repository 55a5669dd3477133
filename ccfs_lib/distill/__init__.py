"""Distillation methods: a training set in, a small synthetic ImageSet out.

sre2l (and CDA), mtt (and DATM), dsa, dm; what they stand on: initial, pixels, experts,
buffer, functional and layers, dsa_augment, zca.
"""
