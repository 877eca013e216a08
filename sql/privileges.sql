-- Who may see, mirror and call what. (No worker runs in this test.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS mixpeek_docs;
RESET client_min_messages;
CREATE ROLE regress_mixpeek_owner;
CREATE ROLE regress_mixpeek_member;
GRANT regress_mixpeek_owner TO regress_mixpeek_member;
CREATE ROLE regress_mixpeek_reader;
CREATE ROLE regress_mixpeek_column;
CREATE ROLE regress_mixpeek_attacher;
CREATE ROLE regress_mixpeek_nobody;
CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:1');
CREATE SCHEMA regress_mixpeek AUTHORIZATION regress_mixpeek_owner;
SET search_path = regress_mixpeek, public;
GRANT USAGE ON SCHEMA regress_mixpeek TO PUBLIC;

SET ROLE regress_mixpeek_owner;
CREATE TABLE mine (id int PRIMARY KEY, v text);
GRANT SELECT ON mine TO regress_mixpeek_reader;
GRANT SELECT (id), INSERT ON mine TO regress_mixpeek_column;
GRANT TRIGGER ON mine TO regress_mixpeek_attacher;

-- a mirror needs USAGE on the server and a key, both of the table's owner
SELECT mixpeek.mirror('mine', 'c');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER mixpeek TO regress_mixpeek_owner;
SET ROLE regress_mixpeek_owner;
SELECT mixpeek.mirror('mine', 'c');
RESET ROLE;
CREATE USER MAPPING FOR regress_mixpeek_owner SERVER mixpeek OPTIONS (api_key 'sk_regress');
SET ROLE regress_mixpeek_owner;
SELECT mixpeek.mirror('mine', 'c', server => 'no_such_server');
SELECT mixpeek.mirror('mine', 'c', backfill => false);

-- for it is the owner's affair: a right to create triggers is not enough, and nobody waits for a stranger
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER mixpeek TO PUBLIC;
CREATE USER MAPPING FOR PUBLIC SERVER mixpeek OPTIONS (api_key 'sk_public');
SET ROLE regress_mixpeek_attacher;
SELECT mixpeek.mirror('mine', 'stolen');
CREATE TRIGGER stolen AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('stolen');
SET ROLE regress_mixpeek_nobody;
SELECT mixpeek.mirror('mine', 'stolen');
SELECT mixpeek.unmirror('mine');
SELECT mixpeek.unmirror('mine', 'c', delete_documents => true);
SELECT mixpeek.retry('mine');
SELECT mixpeek.refresh('mine');
SELECT mixpeek.preview('mine', '1');
SELECT mixpeek.adopt();
SELECT mixpeek.unmirror('pg_class');
SET ROLE regress_mixpeek_reader;
SELECT mixpeek.unmirror('mine');
SELECT mixpeek.preview('mine', '1');
-- a member of the owning role may; its own key is another affair
SET ROLE regress_mixpeek_member;
SELECT mixpeek.retry('mine'), mixpeek.refresh('mine'), mixpeek.preview('mine', '1');
RESET ROLE;

-- whoever may write to the table needs no right of the mirror's
SET ROLE regress_mixpeek_column;
INSERT INTO mine VALUES (1, 'secret'), (2, 'secret');
RESET ROLE;
SELECT relation, operation, collection, key FROM mixpeek.outbox;
INSERT INTO mixpeek.documents (relation, collection, key, document_id, state, last_error, enrichments, server, marker) VALUES
    ('mine', 'c', '1', 'doc_1', 'mirrored', NULL, '{"cluster_id": "k", "taxonomy_t_label": "l"}', 'mixpeek', 'm'),
    ('mine', 'c', '2', NULL, 'failed', 'no', NULL, 'mixpeek', 'm');

-- who may read the table may read what is known of its documents, and nobody else
SELECT $$SELECT CASE WHEN current_user ~ '^regress' THEN current_user::text ELSE 'superuser' END AS role, (SELECT count(*) FROM mixpeek.documents) AS documents, (SELECT count(*) FROM mixpeek.outbox) AS outbox,
       (SELECT count(*) FROM mixpeek.taxonomies) AS taxonomies, (SELECT count(*) FROM mixpeek.clusters) AS clusters$$ AS seen \gset
:seen;
SET ROLE regress_mixpeek_owner;
:seen;
SET ROLE regress_mixpeek_member;
:seen;
SET ROLE regress_mixpeek_reader;
:seen;
SELECT relation, collection, trigger_name, server, enabled, problem FROM mixpeek.mirrors WHERE relation = 'mine'::regclass;
SET ROLE regress_mixpeek_column;
:seen;
SET ROLE regress_mixpeek_attacher;
:seen;
SET ROLE regress_mixpeek_nobody;
:seen;
-- nor by a function that tells what it is shown, on its way past the filter
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'told: %', $1; RETURN true; END $$;
SELECT * FROM mixpeek.documents WHERE pg_temp.tell(key);
SELECT * FROM mixpeek.outbox WHERE pg_temp.tell(key);
SELECT * FROM mixpeek.clusters WHERE pg_temp.tell(cluster_id);
SELECT * FROM mixpeek.taxonomies WHERE pg_temp.tell(label);
DROP FUNCTION pg_temp.tell;
-- and nobody writes
SET ROLE regress_mixpeek_owner;
INSERT INTO mixpeek.outbox VALUES ('mine', 'I', 'c', '3');
DELETE FROM mixpeek.outbox;
UPDATE mixpeek.documents SET document_id = 'another';
DELETE FROM mixpeek.documents;
TRUNCATE mixpeek.documents;
SELECT key FROM mixpeek.documents FOR UPDATE;
UPDATE mixpeek.origin SET id = id;
INSERT INTO mixpeek.clusters (key) VALUES ('x');
CREATE TABLE mixpeek.squat ();
RESET ROLE;

-- where a policy hides rows of the table, it hides the documents: only it could say which
ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON mine FOR SELECT USING (id = 1);
SET ROLE regress_mixpeek_reader;
SELECT id FROM mine;
:seen;
SET ROLE regress_mixpeek_owner;
:seen;
RESET ROLE;
ALTER TABLE mine FORCE ROW LEVEL SECURITY;
SET ROLE regress_mixpeek_owner;
:seen;
RESET ROLE;
:seen;
ALTER ROLE regress_mixpeek_reader BYPASSRLS;
SET ROLE regress_mixpeek_reader;
:seen;
RESET ROLE;
ALTER ROLE regress_mixpeek_reader NOBYPASSRLS;
ALTER TABLE mine DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
REVOKE SELECT ON mine FROM regress_mixpeek_reader;
SET ROLE regress_mixpeek_reader;
:seen;
RESET ROLE;

-- retry() without a table means the caller's own
DELETE FROM mixpeek.outbox;
SET ROLE regress_mixpeek_nobody;
SELECT mixpeek.retry();
SET ROLE regress_mixpeek_owner;
SELECT mixpeek.retry(), mixpeek.refresh('mine');
RESET ROLE;
SELECT operation, key FROM mixpeek.outbox;

-- the new owner's, and the old one's no more
ALTER TABLE mine OWNER TO regress_mixpeek_nobody;
SET ROLE regress_mixpeek_owner;
:seen;
SELECT mixpeek.unmirror('mine');
SET ROLE regress_mixpeek_nobody;
:seen;
SELECT mixpeek.unmirror('mine');
RESET ROLE;
:seen;

-- EXECUTE: who may call what
SELECT p.oid::regprocedure AS not_for_everybody FROM pg_proc p WHERE p.pronamespace = 'mixpeek'::regnamespace
   AND NOT has_function_privilege('regress_mixpeek_nobody', p.oid, 'EXECUTE') ORDER BY p.proname;
SELECT p.oid::regprocedure AS security_definer FROM pg_proc p WHERE p.pronamespace = 'mixpeek'::regnamespace AND p.prosecdef;
SELECT c.oid::regclass, p.privilege FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (privilege)
 WHERE c.relnamespace = 'mixpeek'::regnamespace AND c.relkind IN ('r', 'v', 'S')
   AND has_table_privilege('regress_mixpeek_nobody', c.oid, p.privilege) ORDER BY c.relname, 2;
SELECT has_schema_privilege('regress_mixpeek_nobody', 'mixpeek', 'USAGE') AS usage, has_schema_privilege('regress_mixpeek_nobody', 'mixpeek', 'CREATE') AS "create",
       has_foreign_data_wrapper_privilege('regress_mixpeek_nobody', 'mixpeek_docs', 'USAGE') AS wrapper;

SET client_min_messages = warning;
DROP SCHEMA regress_mixpeek CASCADE;
DROP EXTENSION mixpeek_docs CASCADE;
DROP ROLE regress_mixpeek_owner, regress_mixpeek_member, regress_mixpeek_reader, regress_mixpeek_column,
    regress_mixpeek_attacher, regress_mixpeek_nobody;
