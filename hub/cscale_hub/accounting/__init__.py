"""What each virtual organisation used: records of servers and jobs, and of what is stored."""
