-- mixpeek.mirror() and unmirror(): what they make of their arguments. (No worker runs in this test.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS mixpeek_docs;
RESET client_min_messages;
CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:1');
CREATE SERVER another FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR PUBLIC SERVER mixpeek OPTIONS (api_key 'sk_regress');
CREATE USER MAPPING FOR PUBLIC SERVER another OPTIONS (api_key 'sk_regress');
CREATE FUNCTION take() RETURNS TABLE (relation regclass, operation "char", collection text, key text) LANGUAGE sql AS
    'WITH d AS (DELETE FROM mixpeek.outbox RETURNING ctid, *) SELECT relation, operation, collection, key FROM d ORDER BY d.ctid';
CREATE FUNCTION triggers(regclass) RETURNS TABLE (definition text) LANGUAGE sql AS
    'SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY tgname COLLATE "C"';
\pset format unaligned
\pset tuples_only on

-- the triggers, and all rows to be looked at
CREATE TABLE t (id int PRIMARY KEY, a text, doc_id text, enrichments jsonb);
INSERT INTO t VALUES (1, 'x');
SELECT mixpeek.mirror('t', 'c');
SELECT triggers('t');
SELECT take();
INSERT INTO t VALUES (2);
SELECT take();
TRUNCATE t;
SELECT take();

-- once more: replaced, under the same name
SELECT mixpeek.mirror('t', 'c', '{"metadata": {"a": "$a", "quote": "it''s \\ \"so\""}}', server => 'another', backfill => false,
                      document_id_column => 'doc_id', enrichments_column => 'enrichments');
SELECT triggers('t');
SELECT * FROM mixpeek.mirrors;
SELECT take();
-- what is written back is not mirrored, nor what the template leaves out
INSERT INTO t VALUES (1, 'x');
UPDATE t SET doc_id = 'd', enrichments = '{}';
SELECT take();

-- several collections of one table; the trigger keeps the name that somebody gave it
SELECT mixpeek.mirror('t', 'd', backfill => false);
SELECT mixpeek.mirror('t', 'It''s "d"; --', backfill => false);
ALTER TRIGGER mixpeek_d ON t RENAME TO mine;
SELECT mixpeek.mirror('t', 'd', '{"metadata": {}}', backfill => false);
SELECT triggers('t');
DELETE FROM t;
SELECT take();
SELECT mixpeek.preview('t', '1', 'no_such_collection');
INSERT INTO t VALUES (1, 'x');
SELECT mixpeek.preview('t', '1', 'd') - 'source_details' #- '{metadata,mixpeek_docs}';
SELECT mixpeek.preview('t', '7', 'd');
SELECT take();
-- one is unmirrored, the others are not
INSERT INTO mixpeek.documents (relation, collection, key, state, server, marker)
    VALUES ('t', 'c', '1', 'mirrored', 'mixpeek', 'm'), ('t', 'd', '1', 'mirrored', 'mixpeek', 'm');
SELECT mixpeek.unmirror('t', 'no_such_collection');
SELECT mixpeek.unmirror('t', 'd');
SELECT collection FROM mixpeek.mirrors ORDER BY collection COLLATE "C";
SELECT triggers('t');
SELECT collection FROM mixpeek.documents;
-- a mirror whose documents shall go as well: what is known of them stays until then
SELECT mixpeek.unmirror('t', 'c', delete_documents => true);
SELECT take();
SELECT collection FROM mixpeek.documents;
SELECT mixpeek.unmirror('t');
SELECT triggers('t');
SELECT mixpeek.unmirror('t');
DROP TABLE t;
SELECT collection FROM mixpeek.documents;
SELECT take();

-- a collection's name is longer than an identifier may be
CREATE TABLE t (id int PRIMARY KEY);
SELECT mixpeek.mirror('t', repeat('c', 70), backfill => false);
SELECT mixpeek.mirror('t', repeat('d', 70), backfill => false);
SELECT mixpeek.mirror('t', repeat('d', 70) || '2', backfill => false);
SELECT mixpeek.mirror('t', repeat(U&'\00e9', 40), backfill => false);
SELECT replace(tgname, U&'\00e9', 'e'), length(tgname) FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY tgname COLLATE "C";
SELECT replace(left(collection, 1), U&'\00e9', 'e'), length(collection) FROM mixpeek.mirrors ORDER BY collection COLLATE "C";
INSERT INTO t VALUES (1);
SELECT relation, operation, replace(left(collection, 1), U&'\00e9', 'e'), length(collection), key FROM take();
SELECT mixpeek.unmirror('t');
SELECT triggers('t');

-- a name that somebody else's trigger has is not taken from it
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER mixpeek AFTER UPDATE ON t EXECUTE FUNCTION noop();
CREATE TRIGGER mixpeek_c AFTER UPDATE ON t EXECUTE FUNCTION noop();
CREATE TRIGGER mixpeek_c_truncate AFTER UPDATE ON t EXECUTE FUNCTION noop();
CREATE TRIGGER mixpeek_truncate AFTER UPDATE ON t EXECUTE FUNCTION noop();
SELECT mixpeek.mirror('t', 'c', backfill => false);
SELECT tgname, tgfoid::regproc FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY tgname COLLATE "C";
SELECT mixpeek.unmirror('t');
DROP FUNCTION noop CASCADE;

-- NULL
SELECT mixpeek.mirror(NULL, 'c');
SELECT mixpeek.mirror('t', NULL);
SELECT mixpeek.mirror('t', '');
SELECT mixpeek.unmirror(NULL);
SELECT mixpeek.preview(NULL, '1');
SELECT mixpeek.preview('t', NULL);
SELECT mixpeek.refresh(NULL);
SELECT mixpeek.mirror('t', 'c', NULL, NULL, NULL, NULL, NULL);
SELECT triggers('t');
SELECT take();
SELECT mixpeek.unmirror('t', NULL, NULL);
SELECT mixpeek.retry(NULL, NULL, NULL);

-- mistakes
SELECT mixpeek.mirror('t', 'c', '{"metadata": {"a": "$nope"}}');
SELECT mixpeek.mirror('t', 'c', '[]');
SELECT mixpeek.mirror('t', 'c', document_id_column => 'nope');
SELECT mixpeek.mirror('t', 'c', document_id_column => 'id');
SELECT mixpeek.mirror('t', 'c', enrichments_column => 'ctid');
SELECT mixpeek.mirror('t', 'c', server => '');
SELECT mixpeek.mirror(0, 'c');
SELECT mixpeek.unmirror(0);
SELECT mixpeek.retry(0);
SELECT mixpeek.refresh(0);
SELECT mixpeek.preview(0, '1');
SELECT triggers('t');
SELECT take();
DROP TABLE t;

-- what cannot be mirrored
CREATE TABLE nokey (id int);
CREATE TEMP TABLE tmp (id int PRIMARY KEY);
CREATE VIEW v AS SELECT * FROM nokey;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM nokey;
CREATE SEQUENCE s;
CREATE INDEX nokey_id ON nokey (id);
CREATE FOREIGN TABLE ft (id int) SERVER mixpeek;
CREATE TYPE ct AS (id int);
CREATE TABLE top (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF top DEFAULT;
SELECT mixpeek.mirror('nokey', 'c');
SELECT mixpeek.mirror('tmp', 'c');
SELECT mixpeek.mirror('v', 'c');
SELECT mixpeek.mirror('mv', 'c');
SELECT mixpeek.mirror('s', 'c');
SELECT mixpeek.mirror('nokey_id', 'c');
SELECT mixpeek.mirror('ft', 'c');
SELECT mixpeek.mirror('ct', 'c');
SELECT mixpeek.mirror('pg_class', 'c');
SELECT mixpeek.mirror('mixpeek.documents', 'c');
SELECT mixpeek.unmirror('v');
SELECT mixpeek.unmirror('pg_class');
SELECT mixpeek.mirror(oid, 'c') FROM pg_class WHERE relname = 'pg_toast_1255';
DROP VIEW v;
DROP MATERIALIZED VIEW mv;
DROP FOREIGN TABLE ft;
DROP TYPE ct;
DROP SEQUENCE s;
DROP TABLE nokey, tmp;

-- a partitioned table has one mirror; a partition may have its own
SELECT mixpeek.mirror('top', 'c');
SELECT relation, trigger_name, collection FROM mixpeek.mirrors;
INSERT INTO top VALUES (1);
SELECT take();
CREATE TABLE part2 (id int PRIMARY KEY);
ALTER TABLE top DETACH PARTITION part;
ALTER TABLE top ATTACH PARTITION part2 DEFAULT;
INSERT INTO top VALUES (1);
INSERT INTO part VALUES (7);
SELECT take();
SELECT mixpeek.unmirror('part2');
SELECT mixpeek.mirror('part2', 'd', backfill => false);
INSERT INTO top VALUES (2);
SELECT take();
SELECT mixpeek.unmirror('top');
SELECT relation, collection FROM mixpeek.mirrors;
DROP TABLE top, part;
-- an inheritance child is no partition
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
SELECT mixpeek.mirror('parent', 'c', backfill => false);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2);
SELECT take();
DROP TABLE parent, child;

-- names that need quotes
CREATE SCHEMA "We ird""";
CREATE TABLE "We ird"""."$x'; DROP TABLE y; --" ("$k" int PRIMARY KEY, "a""b\c'" text, "Doc Id" text);
SELECT mixpeek.mirror('"We ird"""."$x''; DROP TABLE y; --"', 'c', '{"metadata": {"x": "$a\"b\\c''", "all": "$*"}}', document_id_column => 'Doc Id');
SELECT triggers('"We ird"""."$x''; DROP TABLE y; --"');
SELECT * FROM mixpeek.mirrors;
INSERT INTO "We ird"""."$x'; DROP TABLE y; --" VALUES (1, 'v', 'd');
SELECT take();
SELECT mixpeek.preview('"We ird"""."$x''; DROP TABLE y; --"', '1') #- '{metadata,mixpeek_docs}';
-- what pg_dump would write makes the same mirror
CREATE TABLE saved AS SELECT * FROM triggers('"We ird"""."$x''; DROP TABLE y; --"');
CREATE TABLE mirrors AS SELECT * FROM mixpeek.mirrors;
SELECT mixpeek.unmirror('"We ird"""."$x''; DROP TABLE y; --"');
DO $$ DECLARE d text; BEGIN FOR d IN SELECT definition FROM saved LOOP EXECUTE d; END LOOP; END $$;
SELECT count(*) FROM (SELECT * FROM triggers('"We ird"""."$x''; DROP TABLE y; --"') INTERSECT SELECT * FROM saved) x;
SELECT count(*) FROM (SELECT * FROM mixpeek.mirrors INTERSECT SELECT * FROM mirrors) x;
DROP TABLE saved, mirrors;
-- and in whatever search path
SET search_path = '';
SELECT mixpeek.mirror('"We ird"""."$x''; DROP TABLE y; --"', 'c', backfill => false);
SELECT mixpeek.unmirror('"We ird"""."$x''; DROP TABLE y; --"');
RESET search_path;
DROP TABLE "We ird"""."$x'; DROP TABLE y; --";
DROP SCHEMA "We ird""";

-- taken back with the transaction
CREATE TABLE t (id int PRIMARY KEY);
BEGIN;
SELECT mixpeek.mirror('t', 'c');
INSERT INTO t VALUES (1);
ROLLBACK;
SELECT * FROM mixpeek.mirrors;
SELECT take();
SELECT mixpeek.mirror('t', 'c', backfill => false);
BEGIN;
INSERT INTO t VALUES (1);
SELECT mixpeek.unmirror('t');
ROLLBACK;
SELECT relation, collection FROM mixpeek.mirrors;
-- disabled, and for replicated changes
ALTER TABLE t DISABLE TRIGGER mixpeek;
SELECT relation, enabled FROM mixpeek.mirrors;
INSERT INTO t VALUES (2);
ALTER TABLE t ENABLE REPLICA TRIGGER mixpeek;
INSERT INTO t VALUES (3);
ALTER TABLE t ENABLE ALWAYS TRIGGER mixpeek;
INSERT INTO t VALUES (4);
SELECT relation, enabled FROM mixpeek.mirrors;
SELECT take();
-- rows that the policies hide from the owner
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT mixpeek.mirror('t', 'c', backfill => false);
-- renamed
ALTER TABLE t RENAME TO renamed;
SELECT relation, collection, problem FROM mixpeek.mirrors;
SELECT mixpeek.unmirror('renamed');
DROP TABLE renamed;
SELECT count(*) FROM mixpeek.documents;
DROP FUNCTION take, triggers;

-- every object of the extension is described (from PostgreSQL 17 its tables' row types are objects, too)
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass
 WHERE e.extname = 'mixpeek_docs' AND d.deptype = 'e' AND d.classid <> 'pg_type'::regclass AND obj_description(d.objid, d.classid::regclass::name) IS NULL ORDER BY 1;
SELECT obj_description(oid, 'pg_extension') IS NOT NULL FROM pg_extension WHERE extname = 'mixpeek_docs';
SELECT attname FROM pg_attribute WHERE attrelid = 'mixpeek.documents'::regclass AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('relation', 'collection', 'key') AND col_description(attrelid, attnum) IS NULL;
-- and marked as what it is
SELECT p.oid::regprocedure, p.prokind, p.provolatile, p.proparallel, p.proisstrict, p.proleakproof
  FROM pg_proc p WHERE p.pronamespace = 'mixpeek'::regnamespace ORDER BY p.proname;
SET client_min_messages = warning;
DROP EXTENSION mixpeek_docs CASCADE;
