-- Document templates: what mixpeek.preview() shows is what would be sent.
-- No worker is to take what these tests look at, should the library be preloaded.
SET client_min_messages = warning;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET mixpeek.enabled = off', current_database()); END $$;
CREATE EXTENSION mixpeek_docs;
RESET client_min_messages;
CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (api_key 'sk_test');
INSERT INTO mixpeek.origin VALUES ('00000000-0000-0000-0000-000000000001', 0, 0, '');

-- every type as to_jsonb() has it, whatever the session's settings are
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE types (
    id uuid PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, t text, v varchar(5),
    c char(4), na name, d date, ts timestamp, tz timestamptz, ti time, iv interval, by bytea, ar int[],
    ta text[], aa float8[], m mood, p positive, cp pair, j json, jb jsonb, inet inet, r int4range,
    gen int GENERATED ALWAYS AS (i2 * 2) STORED, dropped int);
ALTER TABLE types DROP COLUMN dropped;
INSERT INTO types VALUES
    ('00000000-0000-0000-0000-00000000000a', true, 1, 9007199254740993, 'NaN', '-Infinity', 1.50,
     E'q"\\\n\t\x01é', 'v', 'ab', 'na', '2020-02-29', '2020-01-01 1:2:3.5', '2020-01-01 00:00:00+02',
     '12:30', '1 day 2 hours', '\xdeadbeef', '{1,NULL,3}', '{a,"b c"}', '{{1.5,2},{3,4}}', 'ok', 5,
     '(1,x)', '{"a": 1}', '{"n": [1, {"x": null}]}', '10.0.0.1/8', '[1,5)'),
    ('00000000-0000-0000-0000-00000000000b', NULL, NULL, NULL, 'Infinity', 1e-30, 'NaN', '', '', '', '',
     'infinity', '-infinity', 'infinity', '00:00', '0', '', '{}', '{}', '{}', NULL, NULL, NULL, 'null',
     '"s"', '::1', 'empty');
SELECT mixpeek.mirror('types', 'c', backfill => false);
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SELECT id, (mixpeek.preview('types', id::text) -> 'metadata') - 'mixpeek_docs'::text = to_jsonb(types) AS same FROM types ORDER BY 1;
SET timezone = 'America/New_York';
SET datestyle = 'German, DMY';
SET intervalstyle = 'sql_standard';
SET bytea_output = 'escape';
SELECT jsonb_pretty((mixpeek.preview('types', id::text) -> 'metadata')) FROM types ORDER BY id;
RESET ALL;
SELECT mixpeek.preview('types', '00000000-0000-0000-0000-00000000000c') IS NULL AS no_such_row;

-- the defaults
CREATE TABLE plain (id int PRIMARY KEY, name text, embedding real[], meta jsonb, doc_id text, enr jsonb);
INSERT INTO plain VALUES (1, 'one', '{0.5,1}', '{"a": 1}'), (2, NULL, NULL, NULL), (3, 'x', NULL, '{}'), (4, 'x', NULL, '[1]');
SELECT mixpeek.mirror('plain', 'c', backfill => false, document_id_column => 'doc_id', enrichments_column => 'enr');
SELECT jsonb_pretty(mixpeek.preview('plain', '1'));

-- columns, the row, text with a dollar sign; strings where the contract wants them
CREATE FUNCTION try(document jsonb, key text DEFAULT '1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text; h text; s text;
BEGIN
    PERFORM mixpeek.mirror('plain', 'c', coalesce(document, '{}'), backfill => false, document_id_column => '', enrichments_column => '');
    RETURN mixpeek.preview('plain', key);
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT, s = RETURNED_SQLSTATE;
    RETURN concat_ws(' | ', 'ERROR', s, sqlerrm, nullif(h, ''));
END $$;
SELECT try('{"metadata": {"n": "$name", "row": "$*", "text": "$$name", "fix": [1, "a", null, true, {"x": "$id"}]}}');
SELECT try('{"source_details": [{"type": "bucket", "source_id": "shop", "object_id": "$id", "feature_extractor_task_id": "t",
    "object_task_id": "t", "feature_extractor_id": "f", "source_blobs": [{"property": "$name", "type": "image", "data": "$id"}]}], "metadata": {}}');
SELECT try('{"source_details": [{"type": "bucket", "source_id": "shop", "object_id": "$name", "feature_extractor_task_id": "t",
    "object_task_id": "t", "feature_extractor_id": "f"}]}', '2');
SELECT try('{"metadata": {}, "root_object_id": "$id", "color": "$name", "any": "$meta"}');
SELECT try('{"metadata": "$meta"}');
SELECT try('{"metadata": "$meta"}', '2');
SELECT try('{"metadata": "$meta"}', '3');
SELECT try('{"metadata": "$meta"}', '4');
SELECT try('{"metadata": "$*"}', '3');
SELECT try('{"metadata": {}, "features": [{"feature_extractor_id": "text", "payload": {"n": "$name"}, "vectors": {"embedding": "$embedding"}}]}');
-- a vector that is not there yet leaves its feature out
SELECT try('{"metadata": {}, "features": [{"feature_extractor_id": "text", "vectors": {"embedding": "$embedding"}}, {"feature_extractor_id": "other"}]}', '2');

-- mistakes are errors there and then
SELECT try('[]');
SELECT try('{"metadata": {"a": {"b": ["$nope"]}}}');
SELECT try('{"metadata": "$name"}');
SELECT try('{"metadata": "text"}');
SELECT try('{"metadata": {"mixpeek_docs": 1}}');
SELECT try('{"collection_id": "c"}');
SELECT try('{"source_details": "$name"}');
SELECT try('{"source_details": [{"type": "shelf"}]}');
SELECT try('{"source_details": [{"type": "bucket"}]}');
SELECT try('{"features": [{"payload": {}}]}');
SELECT try('{"features": [{"feature_extractor_id": "text", "vectors": {"embedding": "$name"}}]}');
SELECT try('{"features": [{"feature_extractor_id": "text", "payload": "$id"}]}');

-- a field at the root that is one edit away from a known one is a warning, once; other unknown fields pass silently
SELECT mixpeek.mirror('plain', 'c', '{"metdata": {}, "feature": [], "source_typee": 1, "lineage_pith": 1, "soruce_details": []}', backfill => false);
SELECT mixpeek.mirror('plain', 'c', '{"data": {}, "metdat": {}, "featuresss": [], "métadatas": 1, "": 1, "metadata": {"metdata": 1}}', backfill => false);
CREATE OR REPLACE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON plain
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"métadata": {}}');

-- a template that breaks later says so, and the view shows why
SELECT try('{"metadata": {"n": "$name"}}');
ALTER TABLE plain DROP COLUMN name;
SELECT relation, document, problem FROM mixpeek.mirrors ORDER BY relation::text;
SELECT mixpeek.preview('plain', '1');
DROP TABLE types, plain;
DROP FUNCTION try;
DROP TYPE mood, pair;
DROP DOMAIN positive;
SET client_min_messages = warning;
DROP EXTENSION mixpeek_docs CASCADE;
