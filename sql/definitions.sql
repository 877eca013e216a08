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
SELECT mixpeek.mirror('t', 'c');
SELECT mixpeek.mirror('t', 'c', filter => 'n > 0');
SELECT collection, filter, problem FROM mixpeek.mirrors;
SELECT mixpeek.unmirror('t');
DELETE FROM mixpeek.outbox;

-- mirror() called again changes what it names, and nothing else
CREATE SCHEMA logical;
CREATE SERVER other FOREIGN DATA WRAPPER mixpeek_docs;
CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (api_key 'sk_other');
CREATE TABLE k (id int PRIMARY KEY, v text, b text, doc_id text, found jsonb);
CREATE VIEW k_triggers AS SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger
 WHERE tgrelid = 'k'::regclass ORDER BY 1;
CREATE TRIGGER by_hand AFTER INSERT OR DELETE OR UPDATE OF id, v ON k FOR EACH ROW
    EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"v": "$v"}}', 'table=logical.k', 'server=other');
ALTER TABLE k ENABLE ALWAYS TRIGGER by_hand;
SELECT mixpeek.mirror('k', 'c');
SELECT * FROM k_triggers;
SELECT operation FROM mixpeek.outbox;
SELECT mixpeek.mirror('k', 'c', document_id_column => 'doc_id', enrichments_column => 'found', filter => 'v <> ''hidden''');
SELECT * FROM k_triggers;
SELECT mixpeek.mirror('k', 'c', document => '{"metadata": {"b": "$b"}}', server => 'mixpeek', backfill => false);
SELECT * FROM k_triggers;
-- an empty value resets
SELECT mixpeek.mirror('k', 'c', document => '{}', document_id_column => '', enrichments_column => '', filter => '', "table" => '');
SELECT * FROM k_triggers;
SELECT server, document, document_id_column, enrichments_column, filter, problem FROM mixpeek.mirrors;
SELECT mixpeek.mirror('k', 'c', "table" => 'logical.k2');
ALTER TABLE k DISABLE TRIGGER by_hand;
SELECT mixpeek.mirror('k', 'c', document => '{"metadata": {"v": "$v"}}');
ALTER TABLE k ENABLE REPLICA TRIGGER by_hand, DISABLE TRIGGER by_hand_truncate;
SELECT mixpeek.mirror('k', 'c', filter => 'true');
SELECT * FROM k_triggers;
-- what is wrong changes nothing
SELECT mixpeek.mirror('k', 'c', document => '{"metadata": {"v": "$nope"}}');
SELECT mixpeek.mirror('k', 'c', server => 'nope');
SELECT mixpeek.mirror('k', 'c', document_id_column => 'found');
SELECT mixpeek.mirror('k', 'c', "table" => 'k');
SELECT * FROM k_triggers;
-- of two triggers for different events each is kept
DROP TRIGGER by_hand ON k;
CREATE TRIGGER m1 AFTER INSERT OR UPDATE ON k FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m2 AFTER DELETE ON k FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
SELECT mixpeek.mirror('k', 'c', filter => 'v is not null');
SELECT * FROM k_triggers;
-- a new mirror beside it has the defaults
SELECT mixpeek.mirror('k', 'second');
SELECT * FROM k_triggers;
DROP TABLE k CASCADE;
-- states of partitions' triggers
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
SELECT mixpeek.mirror('p', 'c');
ALTER TABLE p ENABLE ALWAYS TRIGGER mixpeek;
ALTER TABLE p2 DISABLE TRIGGER mixpeek;
SELECT mixpeek.mirror('p', 'c', filter => 'v is not null');
SELECT tgrelid::regclass, tgname, tgenabled, encode(tgargs, 'escape') FROM pg_trigger
 WHERE tgfoid = 'mixpeek.mirror_row'::regproc ORDER BY 2, 1::text;
DROP TABLE p;
DELETE FROM mixpeek.outbox;

-- resync() has everything checked again, and changes no definition
CREATE TRIGGER one AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER two AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER three AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d');
ALTER TABLE t DISABLE TRIGGER three;
SELECT mixpeek.resync('t');
SELECT operation, collection, key FROM mixpeek.outbox;
SELECT mixpeek.resync('t', 'd');
SELECT mixpeek.resync('t', 'nope');
SELECT mixpeek.resync(NULL);
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY 1;
CREATE ROLE regress_mixpeek_other;
SET ROLE regress_mixpeek_other;
SELECT mixpeek.resync('t');
RESET ROLE;
DROP ROLE regress_mixpeek_other;
DROP TABLE t;
DELETE FROM mixpeek.outbox;

-- filters: what is accepted, and as what it is stored
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE FUNCTION app.plus_one(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1';
CREATE FUNCTION app.unsure(i int) RETURNS boolean LANGUAGE sql AS 'SELECT i > 0';
CREATE TABLE f (id int PRIMARY KEY, published boolean, deleted_at timestamptz, "Odd name" text, mood app.mood, tags jsonb, c0 int,
    doc_id text);
CREATE PROCEDURE accepts(filter text) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM mixpeek.mirror('f', 'c', filter => $1);
    RAISE INFO '%', (SELECT m.filter FROM mixpeek.mirrors m WHERE problem IS NULL);
END $$;
CALL accepts('published and deleted_at is null');
CALL accepts('f.published OR public.f.published');
CALL accepts('"Odd name" LIKE ''it''''s %'' -- a comment');
CALL accepts('mood = ''happy'' and c0 = 1 and id in (1, 2)');
CALL accepts('tags @> ''{"a": 1}'' and deleted_at < ''2020-01-01 00:00:00+00''');
CALL accepts('f is not null');
SET search_path = app, public;
CALL public.accepts('plus_one(id) > 1 AND mood <> ''sad''');
RESET search_path;
CALL accepts('deleted_at > now()');
-- what is refused
CALL accepts('publishd');
CALL accepts('id');
CALL accepts('id >');
CALL accepts('true; SELECT 1');
CALL accepts('true) OR (true');
CALL accepts('true AS x');
CALL accepts('true, false');
CALL accepts('true FROM f');
CALL accepts('true UNION SELECT true');
CALL accepts('/* true');
CALL accepts('*');
CALL accepts('id IN (SELECT 1)');
CALL accepts('EXISTS (TABLE f)');
CALL accepts('count(*) > 1');
CALL accepts('row_number() OVER () = 1');
CALL accepts('generate_series(1, 2) = 1');
CALL accepts('random() > 0.5');
CALL accepts('app.unsure(id)');
CALL accepts('plus_one(id) > 1');
CALL accepts('$1 = 1');
CALL accepts('ctid IS NOT NULL');
CALL accepts('tableoid = ''f''::regclass');
CALL accepts('x.id = 1');
CALL accepts('1 / 0 = id');
CALL accepts('id = 1 AND ' || repeat('published AND ', 1000) || 'true');
SELECT mixpeek.mirror('f', 'c', document_id_column => 'doc_id', filter => 'doc_id IS NULL');
SELECT filter FROM mixpeek.mirrors;
-- in the trigger's arguments names outside pg_catalog need their schema
CREATE TRIGGER m AFTER INSERT ON f FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d', 'filter=id >');
CREATE TRIGGER m AFTER INSERT ON f FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d', 'filter=');
CREATE TRIGGER m AFTER INSERT ON f FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d', 'filter=app.nope(id)');
CREATE TRIGGER m AFTER INSERT ON f FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d', 'filter=id > 1', 'filter=id > 2');
CREATE TRIGGER m AFTER INSERT OR UPDATE OF id ON f FOR EACH ROW
    EXECUTE FUNCTION mixpeek.mirror_row('d', 'document={"metadata": {}}', 'filter=app.plus_one(c0) > 1');
SELECT filter, problem FROM mixpeek.mirrors WHERE collection = 'd';
-- columns that only the filter names count
DROP TRIGGER m ON f;
CREATE TRIGGER m AFTER INSERT OR UPDATE ON f FOR EACH ROW
    EXECUTE FUNCTION mixpeek.mirror_row('d', 'document={"metadata": {}}', 'filter=app.plus_one(c0) > 1');
SELECT mixpeek.unmirror('f', 'c');
INSERT INTO f (id, c0) VALUES (1, 1), (2, -5);
DELETE FROM mixpeek.outbox;
UPDATE f SET published = true;
SELECT operation, key FROM mixpeek.outbox;
UPDATE f SET c0 = 1 WHERE id = 2;
SELECT operation, key FROM mixpeek.outbox;
UPDATE f SET c0 = -1 WHERE id = 2;
SELECT mixpeek.preview('f', '1', 'd') IS NULL AS hidden_1, mixpeek.preview('f', '2', 'd') IS NULL AS hidden_2;
-- a change that breaks the filter is a problem, and none of the writer
ALTER TABLE f RENAME c0 TO c1;
SELECT problem FROM mixpeek.mirrors;
INSERT INTO f (id) VALUES (3);
ALTER TABLE f RENAME c1 TO c0;
SELECT problem FROM mixpeek.mirrors;
DROP FUNCTION app.plus_one(int);
SELECT problem FROM mixpeek.mirrors;
INSERT INTO f (id) VALUES (4);
DROP TABLE f;
DROP SCHEMA app CASCADE;

-- a missing key is no error of CREATE TRIGGER, but one of mirror()
CREATE TABLE n (id int NOT NULL, v text);
CREATE TRIGGER m AFTER INSERT OR UPDATE OR DELETE ON n FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER wrong AFTER INSERT ON n FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d', 'document={"metadata": {"a": "$nope"}}');
CREATE TRIGGER wrong AFTER INSERT ON n FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d', 'filter=nope');
SELECT collection, problem FROM mixpeek.mirrors;
SELECT mixpeek.mirror('n', 'c');
ALTER TABLE n ADD PRIMARY KEY (id);
SELECT collection, problem FROM mixpeek.mirrors;
DROP TABLE n;
DROP PROCEDURE accepts;
DROP SCHEMA logical;
SET client_min_messages = warning;
DROP EXTENSION mixpeek_docs CASCADE;
