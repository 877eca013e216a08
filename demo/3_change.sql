-- Plain SQL: the documents follow at commit.
UPDATE packages SET version = version || '+demo1' WHERE name LIKE 'lib%a%';
UPDATE packages SET maintainer = 'nobody' WHERE name LIKE 'p%';       -- not in the template: costs no request
DELETE FROM packages WHERE section IN ('doc', 'fonts', 'localization') OR name LIKE '%-common';
INSERT INTO packages VALUES ('mixpeek-docs', '1.0', 'database', 200, NULL, 'rows mirrored as documents');
BEGIN;
DELETE FROM packages;
ROLLBACK;                                                             -- never happened, for the API either
