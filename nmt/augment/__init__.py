"""New training pairs that trained models make of text: which pairs (methods.py), and writing them (writing.py)."""
