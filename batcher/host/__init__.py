"""What runs on one machine share: the outer world as arguments, the registry of runs, and the rate."""
