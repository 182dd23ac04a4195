"""Starting users' servers, and telling each what this place offers to its user."""
