"""Looks at a deployment and says what is wrong with it, and what to do.

Nothing here changes anything, signs in as anybody or sends a secret to where it does not belong.
"""
