"""Grows a twin from a parent: mixers that start from attention's weights and learn its inputs and outputs, by layer."""
