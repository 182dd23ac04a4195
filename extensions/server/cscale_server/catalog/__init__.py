"""The federation as one user's server shows it: slim pages out, whole items kept, pictures."""
