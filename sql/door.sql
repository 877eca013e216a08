-- What a mirror's definition may be: every way to one is checked, everything in it is bounded. (No worker runs in this test.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS mixpeek_docs;
RESET client_min_messages;
CREATE ROLE regress_mixpeek_owner;
CREATE ROLE regress_mixpeek_attacher;
CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR PUBLIC SERVER mixpeek OPTIONS (api_key 'sk_regress');
GRANT USAGE ON FOREIGN SERVER mixpeek TO PUBLIC;
CREATE SCHEMA regress_mixpeek AUTHORIZATION regress_mixpeek_owner;
GRANT USAGE, CREATE ON SCHEMA regress_mixpeek TO PUBLIC;
SET search_path = regress_mixpeek;

-- a statement's error, without what is long in it
CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
BEGIN
    EXECUTE sql;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || regexp_replace(sqlerrm, '(x{20})x+', '\1...', 'g');
END $$;
CREATE FUNCTION attach(tab text, VARIADIC args text[]) RETURNS text LANGUAGE sql AS $$
    SELECT regress_mixpeek.attempt(format('CREATE TRIGGER m%s AFTER INSERT ON regress_mixpeek.%s FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row(%s)',
        floor(random() * 1e9), tab, (SELECT string_agg(quote_literal(a), ', ') FROM unnest(args) a)))
$$;

SET ROLE regress_mixpeek_owner;
CREATE TABLE t (id int PRIMARY KEY, v text, doc text, data jsonb);

-- arguments
SELECT attach('t', repeat('c', n)) FROM unnest(ARRAY[500, 501]) n;
SELECT attach('t', c) FROM unnest(ARRAY['', '.', '..']) c;
SELECT attach('t', 'c', name || '=' || repeat('x', n)) FROM unnest(ARRAY['server', 'document_id_column', 'enrichments_column']) name, unnest(ARRAY[63, 64, 1000000]) n
 WHERE name <> 'server' OR n > 63;
SELECT attach('t', 'c', 'table=' || repeat('x', n)) FROM unnest(ARRAY[300, 301, 10000000]) n;
SELECT attach('t', 'c', 'document=' || repeat(' ', n - 2) || '{}') FROM unnest(ARRAY[65536, 65537]) n;
SELECT attach('t', 'c', 'document=' || repeat('x', 10000000));
SELECT attach('t', 'c', 'server=mixpeek', 'server=mixpeek');
SELECT attach('t', 'c', repeat('x', 100000));
SELECT attempt(format('SELECT mixpeek.mirror(%L, %L)', 't', repeat('c', 501)));
SELECT attempt(format('SELECT mixpeek.%s', call)) FROM unnest(ARRAY[
    format('unmirror(%L, %L)', 't', repeat('c', 501)), format('refresh(%L, %L)', 't', repeat('c', 501)),
    format('retry(%L, %L)', 't', repeat('c', 501)), format('retry(%L, error => %L)', 't', repeat('%x', 2000)),
    format('preview(%L, %L, %L)', 't', '1', repeat('c', 501)), format('preview(%L, %L)', 't', repeat('1', 2001))]) call;
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TRIGGER %I ON regress_mixpeek.t', tgname), ';') FROM pg_trigger WHERE tgrelid = 't'::regclass); END $$;

-- table=: the name of a table that is the owner's own, or could be
CREATE TABLE "T:1" (id int);
RESET ROLE;
CREATE SCHEMA regress_mixpeek_other;
CREATE TABLE regress_mixpeek_other.theirs (id int);
CREATE TABLE theirs (id int);
SET ROLE regress_mixpeek_owner;
SELECT name, attach('t', name, 'table=' || name) FROM unnest(ARRAY['regress_mixpeek.t', 'REGRESS_mixpeek . T', 'regress_mixpeek."T:1"', 'regress_mixpeek.not_yet',
    'regress_mixpeek.theirs', 'regress_mixpeek_other.theirs', 'regress_mixpeek_other.not_yet', 'no_such_schema.t', 'pg_catalog.pg_class', 't', '', '.', 'a.b.c', 'regress_mixpeek.t:1', 'regress_mixpeek."t']) name;
SELECT m.collection, m.problem, a."table" FROM mixpeek.mirrors m JOIN pg_trigger t ON t.tgrelid = m.relation AND t.tgname = m.trigger_name, mixpeek.mirror_arguments(t.oid) a
 WHERE relation = 't'::regclass ORDER BY m.collection COLLATE "C";
-- what it names may become another's later
RESET ROLE;
CREATE TABLE not_yet (id int);
SELECT collection, problem FROM mixpeek.mirrors WHERE relation = 't'::regclass AND problem IS NOT NULL;
DROP TABLE not_yet;
SET ROLE regress_mixpeek_owner;
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TRIGGER %I ON regress_mixpeek.t', tgname), ';') FROM pg_trigger WHERE tgrelid = 't'::regclass); END $$;

-- templates
SELECT attempt(format('SELECT mixpeek.mirror(%L, %L, %L)', 't', 'c', template)) FROM unnest(ARRAY[
    format('{"x": %s1%s}', repeat('[', 64), repeat(']', 64)),
    format('{"x": %s1%s}', repeat('[', 65), repeat(']', 65)),
    format('{"x": %s1%s}', repeat('{"a": ', 65), repeat('}', 65)),
    format('{"x": %s1%s}', repeat('[', 5000), repeat(']', 5000)),
    format('{"%s": 1}', repeat('x', 300)),
    format('{"%s": 1}', repeat('x', 301)),
    format('{"x": {"%s": 1}}', repeat('x', 299)),
    format('{"metadata": {"%s": 1}}', repeat('x', 300)),
    (SELECT format('{"features": [%s]}', string_agg('{"feature_extractor_id": "x"}', ',')) FROM generate_series(1, 1000)),
    (SELECT format('{"features": [%s]}', string_agg('{"feature_extractor_id": "x"}', ',')) FROM generate_series(1, 1001)),
    (SELECT format('{"features": [%s]}', string_agg('{"feature_extractor_id": "$v"}', ',')) FROM generate_series(1, 100000)),
    (SELECT format('{"metadata": {}, "x": [%s]}', string_agg('"$v"', ',')) FROM generate_series(1, 2000)),
    (SELECT format('{"metadata": {}, "x": [%s]}', string_agg('"$v"', ',')) FROM generate_series(1, 2001)),
    (SELECT format('{"metadata": {}, "x": [%s]}', string_agg('"$*"', ',')) FROM generate_series(1, 500)),
    (SELECT format('{"metadata": {}, "x": [%s]}', string_agg('"$*"', ',')) FROM generate_series(1, 501)),
    (SELECT format('{"metadata": {}, "source_details": [{"type": "bucket", "source_id": "s", "object_id": "o", "feature_extractor_task_id": "f", "object_task_id": "t", "feature_extractor_id": "f", "source_blobs": [%s]}]}',
        string_agg('{"property":"$v","type":"text","data":1}', ',')) FROM generate_series(1, 2001))]) template;
-- numbers are short in what is written, and long in what is sent
SELECT attach('t', 'c', format('document={"x": [%s]}', repeat('1e131071,', n) || '1')) FROM unnest(ARRAY[1, 2, 5000]) n;
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TRIGGER %I ON regress_mixpeek.t', tgname), ';') FROM pg_trigger WHERE tgrelid = 't'::regclass); END $$;

-- how many
SELECT count(*), max(attach('t', 'c' || n)) FROM generate_series(1, 100) n;
SELECT attach('t', 'c101');
SELECT count(problem) AS problems, count(*) FROM mixpeek.mirrors WHERE relation = 't'::regclass;
INSERT INTO t VALUES (1);
DROP TABLE t;

-- ways to a mirror: all are checked, and only the owner makes one
CREATE TABLE t (id int PRIMARY KEY, v text);
GRANT TRIGGER ON t TO regress_mixpeek_attacher;
RESET ROLE;
GRANT CREATE ON DATABASE :"DBNAME" TO regress_mixpeek_attacher, regress_mixpeek_owner;
SET ROLE regress_mixpeek_attacher;
SELECT attach('t', 'stolen');
CREATE SCHEMA regress_mixpeek_new CREATE TABLE n (id int PRIMARY KEY)
    CREATE TRIGGER bad AFTER INSERT ON n FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'bogus');
CREATE SCHEMA regress_mixpeek_new CREATE TABLE n (id int PRIMARY KEY)
    CREATE TRIGGER good AFTER INSERT ON n FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
SELECT relation, problem FROM mixpeek.mirrors;
DROP SCHEMA regress_mixpeek_new CASCADE;
CREATE FUNCTION steal() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE TRIGGER stolen AFTER INSERT ON regress_mixpeek.t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row(''stolen'')';
    RETURN 1;
END $$;
CREATE MATERIALIZED VIEW refreshed AS SELECT steal() WITH NO DATA;
REFRESH MATERIALIZED VIEW refreshed;
RESET ROLE;
REFRESH MATERIALIZED VIEW refreshed;
ALTER EVENT TRIGGER mixpeek_on_create_trigger DISABLE;
SET ROLE regress_mixpeek_attacher;
SELECT attach('t', 'stolen');
RESET ROLE;
SET session_replication_role = replica;
SELECT attach('t', 'c', 'bogus');
SELECT attach('t', 'c', 'document={"x": "$nosuch"}');
RESET session_replication_role;
ALTER EVENT TRIGGER mixpeek_on_create_trigger ENABLE;
SELECT relation FROM mixpeek.mirrors;

-- nor by replacing a trigger
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
SET ROLE regress_mixpeek_attacher;
CREATE TRIGGER m AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
CREATE OR REPLACE TRIGGER m AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('stolen');
CREATE CONSTRAINT TRIGGER n AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('stolen');
RESET ROLE;
CREATE OR REPLACE TRIGGER m AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'bogus');
DROP TRIGGER m ON t;

-- a template that is wrong for other reasons than itself is no error of a dump's restore, but everything else is
CREATE TABLE keyless (id int);
ALTER TABLE keyless OWNER TO regress_mixpeek_owner;
SET check_function_bodies = off;
CREATE TRIGGER m AFTER INSERT ON keyless FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
SELECT attach('keyless', 'c', 'bogus');
SET ROLE regress_mixpeek_attacher;
SELECT attach('t', 'stolen');
RESET ROLE;
RESET check_function_bodies;
SELECT relation, problem FROM mixpeek.mirrors;
ALTER TABLE keyless ADD PRIMARY KEY (id);
SELECT relation, problem FROM mixpeek.mirrors;

-- nothing that is put on the extension's own tables
CREATE TRIGGER x BEFORE INSERT ON mixpeek.documents FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER x AFTER TRUNCATE ON mixpeek.outbox EXECUTE FUNCTION f();
CREATE CONSTRAINT TRIGGER x AFTER INSERT ON mixpeek.origin FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER x AFTER INSERT ON mixpeek.forgotten FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE RULE x AS ON INSERT TO mixpeek.documents DO INSTEAD NOTHING;
CREATE RULE x AS ON UPDATE TO mixpeek.outbox DO ALSO SELECT 1;
CREATE TABLE refers (relation oid, collection text, key text, FOREIGN KEY (relation, collection, key) REFERENCES mixpeek.documents);
ALTER SCHEMA mixpeek RENAME TO another;
ALTER SCHEMA mixpeek OWNER TO CURRENT_USER;

SET client_min_messages = warning;
DROP SCHEMA regress_mixpeek, regress_mixpeek_other CASCADE;
DROP EXTENSION mixpeek_docs CASCADE;
DROP OWNED BY regress_mixpeek_owner, regress_mixpeek_attacher;
DROP ROLE regress_mixpeek_owner, regress_mixpeek_attacher;
SELECT to_regnamespace('mixpeek') IS NULL AS the_schema_goes_with_the_extension;
