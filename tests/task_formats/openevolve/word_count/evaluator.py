"""A program of another language: it is run, its answer compared. The score is the average of what is no feature."""

import subprocess

TEXTS = {"one two three": 3, "a\tb c": 3, "": 0}


def evaluate(program_path):
    right = 0
    for text, words in TEXTS.items():
        done = subprocess.run(["sh", program_path], input=text, capture_output=True, text=True, timeout=5)
        right += done.stdout.strip() == str(words)
    with open(program_path) as file:
        return {"accuracy": right / len(TEXTS), "complexity": len(file.read())}
