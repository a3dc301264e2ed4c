"""Complete an algorithm's plans: choose operator and model, repair failures, tell what was tried.

Start reading in `composer.py`.
"""
