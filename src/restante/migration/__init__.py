"""Moving house: maildrops from other servers and stores into ours, and out again."""
