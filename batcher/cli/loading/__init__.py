"""Load runs as the command line makes them."""
