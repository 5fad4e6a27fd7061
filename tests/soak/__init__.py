"""`make soak`: the real service under steady changes for as long as one likes, and whether anything grows."""
