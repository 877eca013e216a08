-- Definitions of mirrors: what is refused, what a second mirror() keeps, resync(), filters. (No worker runs in this test.)
SET client_min_messages = warning;
CREATE EXTENSION mixpeek_docs;
RESET client_min_messages;
CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs;
CREATE USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (api_key 'sk_test');
CREATE TABLE t (id int PRIMARY KEY, v text, published boolean, n int);

-- a condition on the trigger hides rows from the mirror
CREATE TRIGGER m AFTER INSERT OR UPDATE ON t FOR EACH ROW WHEN (NEW.published AND NEW.v <> 'it''s') EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m AFTER DELETE ON t FOR EACH ROW WHEN (OLD.published) EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m AFTER UPDATE ON t FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m AFTER TRUNCATE ON t WHEN (false) EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE CONSTRAINT TRIGGER m AFTER INSERT ON t FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION mixpeek.mirror_row('c');
SET check_function_bodies = off; -- as pg_restore does
CREATE TRIGGER m AFTER INSERT ON t FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION mixpeek.mirror_row('c');
RESET check_function_bodies;
SELECT problem FROM mixpeek.mirrors;
DROP TRIGGER m ON t;
-- where it exists already, mirror() does not take it away in silence
SELECT mixpeek.mirror('t', 'c');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER other AFTER INSERT ON t FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION nothing();
UPDATE pg_trigger SET tgqual = (SELECT tgqual FROM pg_trigger WHERE tgname = 'other') WHERE tgname = 'mixpeek';
DROP TRIGGER other ON t;
SELECT problem FROM mixpeek.mirrors;
DELETE FROM mixpeek.outbox;
INSERT INTO t VALUES (1, 'x', true, 1), (2, 'y', true, 0);
SELECT operation, key FROM mixpeek.outbox;
SELECT mixpeek.preview('t', '1');
