-- When the last session began, had each begun a LOGIN-DELAY after the one before.
ALTER TABLE maildrops ADD COLUMN opened TIMESTAMPTZ;
