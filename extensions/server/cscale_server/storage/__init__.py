"""The user's places in the object store: what is there, what comes in, what goes out."""
