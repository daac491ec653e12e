"""What other libraries offer for the same problems, each set up as its own users would, and compared with ours."""
