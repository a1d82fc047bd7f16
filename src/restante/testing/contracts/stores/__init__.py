"""The contract for stores of maildrops, a file for each subject."""
