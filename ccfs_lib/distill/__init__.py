"""Distillation methods: a training set in, a small synthetic ImageSet out."""
