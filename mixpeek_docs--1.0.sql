/* mixpeek_docs--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION mixpeek_docs" to load this file. \quit

-- Because of "schema = pg_catalog" in the control file the search path is pg_catalog here, so no name and no operator
-- below is looked up where other users can create objects. The extension's objects are named with their schema. It is
-- created here, so that it is a member of the extension; if there is a schema of this name already, that fails.
CREATE SCHEMA mixpeek;
COMMENT ON SCHEMA mixpeek IS
    'mirrors of tables as documents of the Mixpeek API';

--
-- Servers and user mappings (src/remote/server.c), the API as SQL functions (src/entry/api_functions.c)
--
CREATE FUNCTION mixpeek.fdw_validator(options text[], catalog oid) RETURNS void
LANGUAGE C STRICT STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'mixpeek_fdw_validator';
COMMENT ON FUNCTION mixpeek.fdw_validator(text[], oid) IS
    'checks the options of a server or user mapping and raises an error for unknown ones and invalid values; called by CREATE and ALTER';

CREATE FOREIGN DATA WRAPPER mixpeek_docs NO HANDLER VALIDATOR mixpeek.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER mixpeek_docs IS
    'servers of the Mixpeek API (options base_url, namespace, connect_timeout, request_timeout, max_connections, requests_per_minute, ca_file, if_unfindable, contract) and users'' keys (options api_key, base_url)';

CREATE FUNCTION mixpeek.create_document(collection text, source_details jsonb DEFAULT NULL, metadata jsonb DEFAULT NULL,
                                        features jsonb DEFAULT NULL, extra jsonb DEFAULT NULL,
                                        server name DEFAULT 'mixpeek')
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_create_document';
COMMENT ON FUNCTION mixpeek.create_document(text, jsonb, jsonb, jsonb, jsonb, name) IS
    'creates a document in a collection and returns it as the API does. A null argument is left out of the request; extra is an object with further fields of it. The API has then created the document, even if the transaction is rolled back. Raises an error for arguments that the API''s contract does not allow, and for each answer that is not a success';

CREATE FUNCTION mixpeek.get_document(collection text, document_id text, return_url boolean DEFAULT false,
                                     return_vectors boolean DEFAULT false, server name DEFAULT 'mixpeek')
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'mixpeek_get_document';
COMMENT ON FUNCTION mixpeek.get_document(text, text, boolean, boolean, name) IS
    'returns a document as the API does, with presigned URLs of its files if return_url is true, and with its vectors if return_vectors is true. Raises an error if there is no such document';

CREATE FUNCTION mixpeek.update_document(collection text, document_id text, document jsonb,
                                        server name DEFAULT 'mixpeek')
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_update_document';
COMMENT ON FUNCTION mixpeek.update_document(text, text, jsonb, name) IS
    'replaces those root-level fields of a document that document has, and returns the whole document. Vectors cannot be changed. Raises an error if there is no such document, and for fields that the API''s contract does not allow';

CREATE FUNCTION mixpeek.delete_document(collection text, document_id text, server name DEFAULT 'mixpeek')
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_delete_document';
COMMENT ON FUNCTION mixpeek.delete_document(text, text, name) IS
    'deletes a document and returns the API''s answer, or NULL if the answer has no body. Raises an error if there is no such document';

CREATE FUNCTION mixpeek.list_documents(collection text, filters jsonb DEFAULT NULL, sort jsonb DEFAULT NULL,
                                       search text DEFAULT NULL, max_documents bigint DEFAULT NULL,
                                       return_url boolean DEFAULT false, return_vectors boolean DEFAULT false,
                                       server name DEFAULT 'mixpeek')
RETURNS SETOF jsonb
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'mixpeek_list_documents';
COMMENT ON FUNCTION mixpeek.list_documents(text, jsonb, jsonb, text, bigint, boolean, boolean, name) IS
    'returns a collection''s documents, one in each row. filters, sort and search are the API''s own (NULL: none); at most max_documents are returned (NULL: all). Requests a page of up to 100 documents only when a row of it is needed, so that a LIMIT ends the requests if the function is called in a select list';

--
-- State: the keys that may have changed (src/state/outbox.c), and what is known of each document (src/state/documents.c)
--

CREATE TABLE mixpeek.outbox
(
    relation regclass NOT NULL,
    operation "char" NOT NULL,
    collection text NOT NULL,
    key text
) USING heap
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000);
-- Without a replica identity a publication FOR ALL TABLES would prevent the worker from deleting.
ALTER TABLE mixpeek.outbox REPLICA IDENTITY FULL;
COMMENT ON TABLE mixpeek.outbox IS
    'keys that may have changed and wait for the worker; operation: I insert, U update, D delete, K recheck, R poll for enrichments, B all rows after key, T all records of mixpeek.documents after key, C compare the key''s definition, L all documents that the API lists from page key on';

-- The order of the columns is that of DOCUMENT_COLUMNS in src/state/document_table.h.
CREATE TABLE mixpeek.documents
(
    relation regclass NOT NULL,
    collection text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    document_id text COLLATE "C",
    enrichments jsonb,
    server text COLLATE "C" NOT NULL,
    marker text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    mirrored_at timestamptz,
    state text NOT NULL CHECK (state IN ('pending', 'sending', 'mirrored', 'failed')),
    last_error text,
    next_attempt_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    enrichment_polls smallint NOT NULL DEFAULT 0,
    in_doubt boolean NOT NULL DEFAULT false,
    enrichments_current boolean,
    content_hash bytea,
    features_hash bytea,
    intent_hash bytea,
    place bigint,
    owner regrole,
    replaced_id text COLLATE "C",
    fields text[] COLLATE "C",
    PRIMARY KEY (relation, collection, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX documents_document_id_idx ON mixpeek.documents USING hash (document_id) WHERE document_id IS NOT NULL;
CREATE INDEX documents_owed_idx ON mixpeek.documents USING hash (marker) WHERE owner IS NOT NULL;
CREATE INDEX documents_next_attempt_at_idx ON mixpeek.documents (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
-- New entries are collected in the pending list first; a large list makes inserts cheaper, and searches scan it.
CREATE INDEX documents_enrichments_idx ON mixpeek.documents USING gin (enrichments jsonb_path_ops) WITH (gin_pending_list_limit = 65536)
    WHERE enrichments IS NOT NULL;
COMMENT ON TABLE mixpeek.documents IS 'one record for each mirrored row: its document, and what the API returned; and one for each owed delete: its relation is - (0), its key a uuid';
COMMENT ON COLUMN mixpeek.documents.relation IS 'the mirrored table; the topmost one of a partitioned table';
COMMENT ON COLUMN mixpeek.documents.collection IS 'the API''s collection identifier';
COMMENT ON COLUMN mixpeek.documents.key IS 'the key column''s text; for several columns, their row text';
COMMENT ON COLUMN mixpeek.documents.document_id IS 'DocumentResponse.document_id; NULL if no document is known';
COMMENT ON COLUMN mixpeek.documents.enrichments IS 'DocumentResponse.enrichments (2025-09), or the root-level fields that the API added (2026-02)';
COMMENT ON COLUMN mixpeek.documents.server IS 'the foreign server that holds the document';
COMMENT ON COLUMN mixpeek.documents.marker IS 'the document''s metadata.mixpeek_docs: origin:table:key';
COMMENT ON COLUMN mixpeek.documents.created_at IS 'when the row was first seen';
COMMENT ON COLUMN mixpeek.documents.mirrored_at IS 'when the API last confirmed the row''s content';
COMMENT ON COLUMN mixpeek.documents.state IS 'pending (waits for its next attempt), sending, mirrored, failed (see last_error)';
COMMENT ON COLUMN mixpeek.documents.last_error IS 'why the last attempt failed';
COMMENT ON COLUMN mixpeek.documents.next_attempt_at IS 'when a pending document is tried again, or a mirrored one is polled for its enrichments';
COMMENT ON COLUMN mixpeek.documents.attempts IS 'attempts since the last success';
COMMENT ON COLUMN mixpeek.documents.enrichment_polls IS 'how often a mirrored document was polled for its enrichments';
COMMENT ON COLUMN mixpeek.documents.in_doubt IS 'a create was sent, and its answer is not known: the marker is looked up before the next create';
COMMENT ON COLUMN mixpeek.documents.enrichments_current IS 'whether the API''s last answer had the enrichments; false: they are of earlier content, and are removed unless the API returns others; NULL: there are none';
COMMENT ON COLUMN mixpeek.documents.content_hash IS 'SHA-256 of the content, without features, that was sent last and confirmed; NULL if it is not known';
COMMENT ON COLUMN mixpeek.documents.features_hash IS 'SHA-256 of the features that were sent last and confirmed, empty if there were none; NULL if it is not known';
COMMENT ON COLUMN mixpeek.documents.intent_hash IS 'hashes of content and features of the create that is in doubt; only the first one if it has no features';
COMMENT ON COLUMN mixpeek.documents.place IS 'where the document is: a hash of the server''s base_url and namespace, see mixpeek.places; NULL if none was ever sent';
COMMENT ON COLUMN mixpeek.documents.owner IS 'of an owed delete, the role whose API key deletes the document; otherwise NULL';
COMMENT ON COLUMN mixpeek.documents.replaced_id IS 'the document that document_id has replaced, while it is still to be deleted';
COMMENT ON COLUMN mixpeek.documents.fields IS 'root-level fields of the document that are from the template, besides metadata, source_details and features; NULL: none';

-- A server can be altered, and then its documents of before are still where they were.
CREATE TABLE mixpeek.places
(
    place bigint PRIMARY KEY,
    base_url text NOT NULL,
    namespace text
);
COMMENT ON TABLE mixpeek.places IS
    'the places where documents were sent to: the base_url and namespace that a server had then';
COMMENT ON COLUMN mixpeek.places.place IS 'their hash, as in mixpeek.documents';
COMMENT ON COLUMN mixpeek.places.base_url IS 'the server''s option, as it is used';
COMMENT ON COLUMN mixpeek.places.namespace IS 'the server''s option, or NULL';

CREATE TABLE mixpeek.server_places
(
    server text COLLATE "C" PRIMARY KEY,
    place bigint NOT NULL
);
COMMENT ON TABLE mixpeek.server_places IS
    'where each server leads to, as the worker has seen it last. If it has been altered since, the worker enters all rows and records of the server''s mirrors into the outbox';
COMMENT ON COLUMN mixpeek.server_places.server IS 'the foreign server';
COMMENT ON COLUMN mixpeek.server_places.place IS 'see mixpeek.places';

CREATE TABLE mixpeek.origin
(
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    system_identifier bigint NOT NULL,
    database oid NOT NULL,
    instance text NOT NULL,
    timeline bigint NOT NULL DEFAULT 0,
    written_by bigint NOT NULL DEFAULT 0,
    incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
    replaces uuid[] NOT NULL DEFAULT '{}',
    former_ids uuid[] NOT NULL DEFAULT '{}',
    incomplete boolean NOT NULL DEFAULT false,
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one)
) USING heap;
COMMENT ON TABLE mixpeek.origin IS
    'this database''s part of every marker, and where and when it was written (cluster, database, instance, timeline, transaction): the worker mirrors only if that is still so; created with the first mirrored row, and part of a dump';

-- An inserted row is assumed to have no document unless this table says otherwise: see must_look_up() in src/worker/decision.c.
CREATE TABLE mixpeek.forgotten
(
    marker_prefix text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    fields text[] COLLATE "C",
    renamed_prefix text COLLATE "C",
    PRIMARY KEY (marker_prefix, collection)
);
COMMENT ON TABLE mixpeek.forgotten IS
    'mirrors that may have documents at the API without a record in mixpeek.documents, as after unmirror(), DROP TABLE or a restore (empty: all mirrors). Their inserted rows are looked up before a document is created';

-- Written by the worker (src/state/key_table.c). It is not dumped: the definitions have oids in them.
CREATE TABLE mixpeek.keys
(
    relation regclass NOT NULL,
    collection text COLLATE "C" NOT NULL,
    definition text[] NOT NULL,
    problem text,
    PRIMARY KEY (relation, collection)
);
ALTER TABLE mixpeek.keys ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE mixpeek.keys IS
    'the definition that each mirror''s key had when the worker last read it. If it changes, the texts of keys mean other rows: then all rows and all records of the mirror are checked';

-- Written by the worker (src/state/aside.c); mixpeek.retry() of a table's owner deletes its row. It is not dumped.
CREATE TABLE mixpeek.set_aside
(
    relation regclass NOT NULL,
    reason text NOT NULL,
    until timestamptz NOT NULL,
    times integer NOT NULL,
    forget_after timestamptz NOT NULL
);
ALTER TABLE mixpeek.set_aside REPLICA IDENTITY FULL;
ALTER TABLE mixpeek.set_aside ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE mixpeek.set_aside IS
    'tables that the worker leaves alone for a time because it died, or met an error, while it worked on them. Their owners see the reason in mixpeek.mirrors.problem, and mixpeek.retry() ends it';

-- Only roles that may read a table may read its records. Where policies apply to a role, they decide which rows it may
-- read; they cannot be applied to records, so such a role reads none.
CREATE FUNCTION mixpeek.may_read(relation regclass) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(pg_catalog.has_table_privilege(relation::oid, 'SELECT'), false)
       AND NOT pg_catalog.row_security_active(relation::oid);
COMMENT ON FUNCTION mixpeek.may_read(regclass) IS
    'returns whether the current role may read all rows of a table, and so its records: it has SELECT on the table, and no policy applies to it';

ALTER TABLE mixpeek.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE mixpeek.documents ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON mixpeek.outbox FOR SELECT USING (mixpeek.may_read(relation));
CREATE POLICY readers ON mixpeek.documents FOR SELECT USING (mixpeek.may_read(relation));
CREATE POLICY owners ON mixpeek.documents FOR SELECT
    USING (owner IS NOT NULL AND pg_catalog.pg_has_role(owner::oid, 'USAGE'));
-- These two hold nothing of users' rows. Without policies for writing, a role that was granted a right still cannot write.
ALTER TABLE mixpeek.origin ENABLE ROW LEVEL SECURITY;
ALTER TABLE mixpeek.forgotten ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON mixpeek.origin FOR SELECT USING (true);
ALTER TABLE mixpeek.places ENABLE ROW LEVEL SECURITY;
ALTER TABLE mixpeek.server_places ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON mixpeek.places FOR SELECT USING (true);
CREATE POLICY readers ON mixpeek.forgotten FOR SELECT USING (true);

--
-- Dumps (src/entry/restore.c)
--

-- pg_dump by a role to which row-level security applies stops at a table that has it. So pg_dump dumps this table.
-- Everybody may read it; the constraint is for a restore that disables the trigger.
CREATE TABLE mixpeek.dump
(
    kind text NOT NULL,
    record jsonb NOT NULL,
    CONSTRAINT restored_by_trigger CHECK (false)
);
ALTER TABLE mixpeek.dump REPLICA IDENTITY FULL;
COMMENT ON TABLE mixpeek.dump IS
    'what pg_dump dumps for all tables of the extension: mixpeek.dump_content(). A row that is inserted goes to the table that it names; this one stays empty';

CREATE FUNCTION mixpeek.restore_record() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_restore_record';
COMMENT ON FUNCTION mixpeek.restore_record() IS
    'trigger function of mixpeek.dump that puts each row where it belongs. Records of tables and roles that do not exist are left out, with a WARNING';
CREATE TRIGGER restore_record BEFORE INSERT ON mixpeek.dump FOR EACH ROW EXECUTE FUNCTION mixpeek.restore_record();
ALTER TABLE mixpeek.dump ENABLE ALWAYS TRIGGER restore_record;

-- pg_dump sets row_security = off, which makes errors of policies; and it reads no views of extensions.
CREATE FUNCTION mixpeek.dump_content() RETURNS TABLE (kind text, record jsonb)
LANGUAGE sql STABLE PARALLEL UNSAFE SET row_security = on
BEGIN ATOMIC
    SELECT 'origin', to_jsonb(o) FROM mixpeek.origin o
    UNION ALL
    SELECT 'forgotten', to_jsonb(f) FROM mixpeek.forgotten f
    UNION ALL
    SELECT 'documents', to_jsonb(d) FROM mixpeek.documents d
    UNION ALL
    SELECT 'outbox', to_jsonb(q) FROM mixpeek.outbox q
    UNION ALL
    SELECT 'places', to_jsonb(p) FROM mixpeek.places p;
END;
COMMENT ON FUNCTION mixpeek.dump_content() IS
    'returns what a dump by the current role holds of the extension''s tables: all that the role may read of them';

SELECT pg_catalog.pg_extension_config_dump('mixpeek.dump',
    'WHERE false UNION ALL SELECT kind, record FROM mixpeek.dump_content()');

--
-- Mirrors (src/entry/trigger.c, mirror_functions.c, inspection_functions.c, event_triggers.c, hidden_changes.c)
--

CREATE FUNCTION mixpeek.mirror_row() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_mirror_row';
COMMENT ON FUNCTION mixpeek.mirror_row() IS
    'trigger function that mirrors a table: AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW it notes the row''s key, AFTER TRUNCATE it notes all records. Arguments of the trigger: the collection, then document=, server=, document_id_column=, enrichments_column=, table=, filter=';

CREATE FUNCTION mixpeek.mirror(relation regclass, collection text, document jsonb DEFAULT NULL,
                               server name DEFAULT NULL, backfill boolean DEFAULT true,
                               document_id_column name DEFAULT NULL, enrichments_column name DEFAULT NULL,
                               filter text DEFAULT NULL, "table" text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_mirror';
COMMENT ON FUNCTION mixpeek.mirror(regclass, text, jsonb, name, boolean, name, name, text, text) IS
    'mirrors a table into a collection: creates its triggers or, if they exist, changes what the arguments name, and, unless backfill is false, enters all its rows into the outbox. document is the template (all columns as metadata), server the foreign server (mixpeek); document_id_column and enrichments_column name columns of the table to write the document''s id and enrichments to (none); filter is an SQL expression that rows must match (all rows), table the table''s name in the marker (its own). NULL keeps what an existing mirror has, and is the default, in parentheses, for a new one. Raises an error unless the caller owns the table, and for each mistake in template and filter';

CREATE FUNCTION mixpeek.unmirror(relation regclass, collection text DEFAULT NULL,
                                 delete_documents boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_unmirror';
COMMENT ON FUNCTION mixpeek.unmirror(regclass, text, boolean) IS
    'drops a table''s mirror into a collection (NULL: all its mirrors) and deletes their records. Documents stay at the API; if delete_documents is true the worker deletes them, and then the records. Raises an error if there is no such mirror';

CREATE FUNCTION mixpeek.preview(relation regclass, key text, collection text DEFAULT NULL)
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_preview';
COMMENT ON FUNCTION mixpeek.preview(regclass, text, text) IS
    'returns the document that would be created for a row, or NULL if the table has no row with this key; sends nothing. collection is needed only if the table has several mirrors. Raises an error if the row cannot be rendered';

CREATE FUNCTION mixpeek.document_key(value anyelement) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE STRICT AS 'MODULE_PATHNAME', 'mixpeek_document_key';
COMMENT ON FUNCTION mixpeek.document_key(anyelement) IS
    'returns the key that a row has in mixpeek.documents, to join it with its table. value is the row of the table, or the value of a key of one column, or ROW(...) of the columns of a key. Raises an error if value is the row of a table without a key';

CREATE FUNCTION mixpeek.retry(relation regclass DEFAULT NULL, collection text DEFAULT NULL, error text DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_retry';
COMMENT ON FUNCTION mixpeek.retry(regclass, text, text) IS
    'has failed keys tried again and returns their number: those of a table (NULL: of all tables that the caller owns), of a collection (NULL: all), whose last_error is LIKE error (NULL: any). Tables that were set aside are tried at once';

CREATE FUNCTION mixpeek.refresh(relation regclass, collection text DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_refresh';
COMMENT ON FUNCTION mixpeek.refresh(regclass, text) IS
    'has the API asked once more for a table''s mirrored documents, in a collection (NULL: all), and returns their number. Their enrichments are stored; documents that are gone are created again';

CREATE FUNCTION mixpeek.resync(relation regclass, collection text DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_resync';
COMMENT ON FUNCTION mixpeek.resync(regclass, text) IS
    'has all rows and all records of a table''s mirror into a collection (NULL: of all its mirrors) checked again, and returns the number of mirrors. Changes no definition, and sends only what differs. Raises an error if there is no such mirror';

CREATE FUNCTION mixpeek.mirror_arguments(trigger oid, OUT collection text, OUT server name, OUT document jsonb,
                                         OUT document_id_column name, OUT enrichments_column name,
                                         OUT "table" text, OUT filter text, OUT problem text)
LANGUAGE C STABLE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'mixpeek_mirror_arguments';
COMMENT ON FUNCTION mixpeek.mirror_arguments(oid) IS
    'returns the decoded arguments of a mirror''s trigger, and why the mirror does not work, or NULL; for the view mixpeek.mirrors';

CREATE VIEW mixpeek.mirrors AS
SELECT t.tgrelid::regclass AS relation, a.collection, t.tgname AS trigger_name, a.server, a.document,
       a.document_id_column, a.enrichments_column, a.filter, t.tgenabled <> 'D' AS enabled, a.problem
  FROM pg_catalog.pg_trigger t, LATERAL mixpeek.mirror_arguments(t.oid) a
 WHERE t.tgfoid = 'mixpeek.mirror_row()'::regprocedure AND t.tgparentid = 0 AND t.tgtype & 1 <> 0;
COMMENT ON VIEW mixpeek.mirrors IS
    'one row for each mirror: the row triggers that execute mixpeek.mirror_row(), with their arguments decoded';

CREATE FUNCTION mixpeek.on_ddl_start() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_on_ddl_start';
COMMENT ON FUNCTION mixpeek.on_ddl_start() IS
    'event trigger function that loads the library, which checks each trigger that is created';
CREATE FUNCTION mixpeek.on_create_trigger() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_on_create_trigger';
COMMENT ON FUNCTION mixpeek.on_create_trigger() IS
    'event trigger function that reports mistakes in a mirror to the command that creates it';
CREATE FUNCTION mixpeek.on_drop() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_on_drop';
COMMENT ON FUNCTION mixpeek.on_drop() IS
    'event trigger function that deletes the entries and records of dropped tables and mirrors';
CREATE FUNCTION mixpeek.on_subscription() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_on_subscription';
COMMENT ON FUNCTION mixpeek.on_subscription() IS
    'event trigger function that leaves the extension''s tables out of subscriptions';


CREATE FUNCTION mixpeek.on_alter() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_on_alter';
COMMENT ON FUNCTION mixpeek.on_alter() IS
    'event trigger function that has all rows and records of a mirror compared after a command that may have changed them without firing row triggers';

CREATE EVENT TRIGGER mixpeek_on_ddl_start ON ddl_command_start
    WHEN TAG IN ('CREATE TRIGGER', 'CREATE SCHEMA', 'CREATE RULE', 'ALTER SCHEMA', 'DROP EXTENSION', 'DROP OWNED')
    EXECUTE FUNCTION mixpeek.on_ddl_start();
CREATE EVENT TRIGGER mixpeek_on_create_trigger ON ddl_command_end
    WHEN TAG IN ('CREATE TRIGGER', 'CREATE SCHEMA', 'CREATE RULE', 'ALTER SCHEMA', 'ALTER SERVER')
    EXECUTE FUNCTION mixpeek.on_create_trigger();
CREATE EVENT TRIGGER mixpeek_on_drop ON sql_drop EXECUTE FUNCTION mixpeek.on_drop();
CREATE EVENT TRIGGER mixpeek_on_alter ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE', 'CREATE POLICY', 'ALTER POLICY')
    EXECUTE FUNCTION mixpeek.on_alter();
-- These two also count with session_replication_role = replica, when row triggers are not fired.
ALTER EVENT TRIGGER mixpeek_on_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER mixpeek_on_alter ENABLE ALWAYS;
CREATE EVENT TRIGGER mixpeek_on_subscription ON ddl_command_end
    WHEN TAG IN ('CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION')
    EXECUTE FUNCTION mixpeek.on_subscription();
COMMENT ON EVENT TRIGGER mixpeek_on_ddl_start IS
    'has mirrors, and what loses the origin, checked also in sessions that have not loaded the library yet';
COMMENT ON EVENT TRIGGER mixpeek_on_create_trigger IS
    'makes a mirror''s mistakes errors or warnings of its CREATE TRIGGER, and warns of the documents and mirrors that an ALTER SERVER leaves behind';
COMMENT ON EVENT TRIGGER mixpeek_on_alter IS
    'has the rows and records of a mirror compared after a command that may have changed them without firing row triggers';
COMMENT ON EVENT TRIGGER mixpeek_on_drop IS
    'deletes the entries and records of a table together with the table or its mirror, and warns of what a DROP SERVER leaves behind';
COMMENT ON EVENT TRIGGER mixpeek_on_subscription IS
    'leaves the extension''s tables out of a subscription, since what they hold belongs to the publisher''s worker';

--
-- Running it (src/entry/sync_functions.c, src/entry/adopt_function.c)
--

CREATE PROCEDURE mixpeek.sync()
LANGUAGE C AS 'MODULE_PATHNAME', 'mixpeek_sync';
COMMENT ON PROCEDURE mixpeek.sync() IS
    'has the worker mirror all that was committed before the call, and returns when it is mirrored or failed, or nothing is left that is due within some seconds. Starts a worker if none runs. Raises an error inside a transaction block, and if nothing may be mirrored';

CREATE FUNCTION mixpeek.wait(timeout interval DEFAULT NULL) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_wait';
COMMENT ON FUNCTION mixpeek.wait(interval) IS
    'returns true as soon as all that was committed before the call is mirrored or failed, and false after the timeout (NULL: no timeout). Raises an error if no worker mirrors this database';

CREATE FUNCTION mixpeek.adopt(as_copy boolean DEFAULT false, origin uuid DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mixpeek_adopt';
COMMENT ON FUNCTION mixpeek.adopt(boolean, uuid) IS
    'declares what a restored or copied database is, which then mirrors again: the successor of the original, which makes its documents equal to the rows, or, if as_copy is true, a copy, whose rows get documents of their own. With origin, the database takes over the documents of this origin, which DROP EXTENSION has named. Raises an error if as_copy is true and the database is not a copy';

--
-- Enrichments
--

-- The views must not fail because of an unexpected value in one document.
CREATE FUNCTION mixpeek.enrichment_number(value jsonb) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'number'
            THEN CASE WHEN value::numeric = 0 OR abs(value::numeric) BETWEEN 1e-307 AND 1.7976931348623157e308
                      THEN value::double precision END END;
COMMENT ON FUNCTION mixpeek.enrichment_number(jsonb) IS
    'returns a JSON number as double precision, or NULL if the value is not a number, or is out of range';

CREATE FUNCTION mixpeek.enrichment_taxonomies(enrichments jsonb)
RETURNS TABLE (taxonomy_id text, node_id text, path text[], label text, score double precision)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
BEGIN ATOMIC
    SELECT x ->> 'taxonomy_id', x ->> 'node_id',
           CASE WHEN jsonb_typeof(x -> 'path') = 'array'
                THEN ARRAY(SELECT jsonb_array_elements_text(x -> 'path')) END,
           x ->> 'label',
           mixpeek.enrichment_number(x -> 'score')
      FROM jsonb_array_elements(CASE WHEN jsonb_typeof(enrichments -> 'taxonomies') = 'array'
                                     THEN enrichments -> 'taxonomies' END) x
     WHERE jsonb_typeof(x) = 'object'
    UNION ALL
    SELECT f.taxonomy, max(f.value #>> '{}') FILTER (WHERE f.field = 'node_id'),
           (SELECT ARRAY(SELECT jsonb_array_elements_text(enrichments -> ('taxonomy_' || f.taxonomy || '_path')))
             WHERE jsonb_typeof(enrichments -> ('taxonomy_' || f.taxonomy || '_path')) = 'array'),
           max(f.value #>> '{}') FILTER (WHERE f.field = 'label'),
           max(mixpeek.enrichment_number(f.value)) FILTER (WHERE f.field = 'score')
      FROM (SELECT m[1] AS taxonomy, m[2] AS field, e.value
              FROM jsonb_each(CASE WHEN jsonb_typeof(enrichments) = 'object' THEN enrichments END) e,
                   LATERAL regexp_match(e.key, '^taxonomy_(.+)_(node_id|path|label|score)$') m
             WHERE m IS NOT NULL) f
     GROUP BY f.taxonomy;
END;
COMMENT ON FUNCTION mixpeek.enrichment_taxonomies(jsonb) IS
    'returns the taxonomy assignments in a document''s enrichments: its TaxonomyAssignments (2025-09), or its root-level fields taxonomy_<id>_* (2026-02)';

CREATE FUNCTION mixpeek.enrichment_clusters(enrichments jsonb)
RETURNS TABLE (cluster_id text, member_document_id text, distance_to_centroid double precision,
               coordinates double precision[], source_type text, source_id text, features jsonb)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
BEGIN ATOMIC
    SELECT x ->> 'cluster_id', x ->> 'document_id',
           mixpeek.enrichment_number(x -> 'distance_to_centroid'),
           CASE WHEN jsonb_typeof(x -> 'coordinates') = 'array'
                THEN ARRAY(SELECT mixpeek.enrichment_number(v) FROM jsonb_array_elements(x -> 'coordinates') v) END,
           x -> 'source_details' ->> 'type', x -> 'source_details' ->> 'source_id',
           nullif(x -> 'features', 'null')
      FROM jsonb_array_elements(CASE WHEN jsonb_typeof(enrichments -> 'clusters') = 'array'
                                     THEN enrichments -> 'clusters' END) x
     WHERE jsonb_typeof(x) = 'object'
    UNION ALL
    SELECT enrichments ->> 'cluster_id', NULL, mixpeek.enrichment_number(enrichments -> 'cluster_distance'),
           NULL, NULL, NULL, NULL
     WHERE enrichments ->> 'cluster_id' IS NOT NULL;
END;
COMMENT ON FUNCTION mixpeek.enrichment_clusters(jsonb) IS
    'returns the cluster memberships in a document''s enrichments: its ClusterMembers (2025-09), or its root-level fields cluster_id and cluster_distance (2026-02)';

CREATE VIEW mixpeek.taxonomies WITH (security_barrier) AS
SELECT d.relation, d.collection, d.key, d.document_id, t.taxonomy_id, t.node_id, t.path, t.label, t.score
  FROM mixpeek.documents d, LATERAL mixpeek.enrichment_taxonomies(d.enrichments) t
 WHERE mixpeek.may_read(d.relation);
COMMENT ON VIEW mixpeek.taxonomies IS
    'one row for each taxonomy assignment of a mirrored document';

CREATE VIEW mixpeek.clusters WITH (security_barrier) AS
SELECT d.relation, d.collection, d.key, d.document_id, c.cluster_id, c.distance_to_centroid,
       c.coordinates, c.source_type, c.source_id, c.features, c.member_document_id
  FROM mixpeek.documents d, LATERAL mixpeek.enrichment_clusters(d.enrichments) c
 WHERE mixpeek.may_read(d.relation);
COMMENT ON VIEW mixpeek.clusters IS
    'one row for each cluster membership of a mirrored document';

--
-- Columns. (Those that the views take from mixpeek.documents have their comments there.)
--
COMMENT ON COLUMN mixpeek.outbox.relation IS 'the mirrored table; the topmost one of a partitioned table';
COMMENT ON COLUMN mixpeek.outbox.operation IS 'what happened to the row: I, U, D; or what is to be done: K, R, B, T, C, L';
COMMENT ON COLUMN mixpeek.outbox.collection IS 'the API''s collection identifier';
COMMENT ON COLUMN mixpeek.outbox.key IS 'the row''s key; for B and T, the last key that was handled, for L, the next page (NULL at the start); for C NULL';
COMMENT ON COLUMN mixpeek.origin.id IS 'the first part of every marker';
COMMENT ON COLUMN mixpeek.origin.system_identifier IS 'the cluster''s, from pg_control_system()';
COMMENT ON COLUMN mixpeek.origin.database IS 'the database''s oid';
COMMENT ON COLUMN mixpeek.origin.instance IS 'the place where the server ran: mixpeek.instance, or hashes of what can be seen of the machine';
COMMENT ON COLUMN mixpeek.origin.timeline IS 'the WAL''s timeline: another one, unless a standby was promoted, means a recovery to an earlier time';
COMMENT ON COLUMN mixpeek.origin.written_by IS 'the transaction that wrote this row; if another one did, a dump was restored';
COMMENT ON COLUMN mixpeek.origin.incarnation IS 'made by mixpeek.adopt(); also in a file outside of the data directory (mixpeek.witness_directory)';
COMMENT ON COLUMN mixpeek.origin.replaces IS 'the incarnations before, of the row and of that file';
COMMENT ON COLUMN mixpeek.origin.former_ids IS 'what the id was before mixpeek.adopt(origin => ...): documents of these are owed deletes';
COMMENT ON COLUMN mixpeek.origin.incomplete IS 'mixpeek.documents or mixpeek.forgotten was truncated: all inserted rows are looked up';
COMMENT ON COLUMN mixpeek.origin.only_one IS 'always true: the table has one row';
COMMENT ON COLUMN mixpeek.forgotten.marker_prefix IS 'the markers'' beginning, origin:table: (empty: all)';
COMMENT ON COLUMN mixpeek.forgotten.collection IS 'the API''s collection identifier (empty: all)';
COMMENT ON COLUMN mixpeek.forgotten.fields IS 'root-level fields that the documents may have from the template; see mixpeek.documents.fields';
COMMENT ON COLUMN mixpeek.forgotten.renamed_prefix IS 'what markers of the table begin with since it was renamed; NULL: it was not';
COMMENT ON COLUMN mixpeek.keys.relation IS 'the mirrored table';
COMMENT ON COLUMN mixpeek.keys.collection IS 'the API''s collection identifier';
COMMENT ON COLUMN mixpeek.keys.definition IS 'the numbers of the key''s columns and the oids of their types; then the labels of their enums';
COMMENT ON COLUMN mixpeek.keys.problem IS 'why the table''s rows could not be listed, or NULL; the owner sees it in mixpeek.mirrors.problem';
COMMENT ON COLUMN mixpeek.set_aside.relation IS 'the table that is not worked on';
COMMENT ON COLUMN mixpeek.set_aside.reason IS 'what happened to the worker';
COMMENT ON COLUMN mixpeek.set_aside.until IS 'when the worker tries the table again';
COMMENT ON COLUMN mixpeek.set_aside.times IS 'how often this has happened lately';
COMMENT ON COLUMN mixpeek.set_aside.forget_after IS 'when this record is removed, unless it happens again';
COMMENT ON COLUMN mixpeek.dump.kind IS 'the name of the extension''s table that the record is of';
COMMENT ON COLUMN mixpeek.dump.record IS 'its columns';
COMMENT ON COLUMN mixpeek.mirrors.relation IS 'the mirrored table';
COMMENT ON COLUMN mixpeek.mirrors.collection IS 'the API''s collection identifier';
COMMENT ON COLUMN mixpeek.mirrors.trigger_name IS 'the row trigger that is the mirror';
COMMENT ON COLUMN mixpeek.mirrors.server IS 'the foreign server that the documents are sent to';
COMMENT ON COLUMN mixpeek.mirrors.document IS 'the document''s template; NULL: the default';
COMMENT ON COLUMN mixpeek.mirrors.document_id_column IS 'the table''s column that the worker stores document ids in, or NULL';
COMMENT ON COLUMN mixpeek.mirrors.enrichments_column IS 'the table''s column that the worker stores enrichments in, or NULL';
COMMENT ON COLUMN mixpeek.mirrors.filter IS 'the SQL expression that rows must match; NULL: all rows are mirrored';
COMMENT ON COLUMN mixpeek.mirrors.enabled IS 'false after ALTER TABLE ... DISABLE TRIGGER';
COMMENT ON COLUMN mixpeek.mirrors.problem IS 'why the mirror does not work, or NULL';
COMMENT ON COLUMN mixpeek.taxonomies.taxonomy_id IS 'TaxonomyAssignment.taxonomy_id (2026-02: from the field''s name)';
COMMENT ON COLUMN mixpeek.taxonomies.node_id IS 'the assigned node of the taxonomy';
COMMENT ON COLUMN mixpeek.taxonomies.path IS 'the nodes from the taxonomy''s root to the assigned one';
COMMENT ON COLUMN mixpeek.taxonomies.label IS 'the assigned node''s label';
COMMENT ON COLUMN mixpeek.taxonomies.score IS 'the assignment''s confidence';
COMMENT ON COLUMN mixpeek.clusters.cluster_id IS 'the cluster';
COMMENT ON COLUMN mixpeek.clusters.distance_to_centroid IS 'the document''s distance to the cluster''s centroid';
COMMENT ON COLUMN mixpeek.clusters.coordinates IS 'the document''s position for display (2025-09)';
COMMENT ON COLUMN mixpeek.clusters.source_type IS 'ClusterMember.source_details.type (2025-09)';
COMMENT ON COLUMN mixpeek.clusters.source_id IS 'ClusterMember.source_details.source_id (2025-09)';
COMMENT ON COLUMN mixpeek.clusters.features IS 'ClusterMember.features (2025-09)';
COMMENT ON COLUMN mixpeek.clusters.member_document_id IS 'ClusterMember.document_id (2025-09)';

--
-- Privileges: those of the owner, and those that are granted here, whatever ALTER DEFAULT PRIVILEGES has set
--

DO LANGUAGE plpgsql $privileges$
#variable_conflict error
DECLARE
    statement text;
BEGIN
    FOR statement IN
        WITH members AS (
            SELECT d.classid, d.objid
              FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refobjid = e.oid
             WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
               AND e.extname = 'mixpeek_docs'),
        acls AS (
            SELECT 'SCHEMA' AS kind, pg_catalog.quote_ident(n.nspname) AS name, n.nspowner AS owner,
                   coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)) AS acl
              FROM pg_catalog.pg_namespace n
             WHERE ('pg_catalog.pg_namespace'::pg_catalog.regclass, n.oid) IN (SELECT classid, objid FROM members)
            UNION ALL
            SELECT 'TABLE', c.oid::pg_catalog.regclass::text, c.relowner,
                   coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
              FROM pg_catalog.pg_class c
             WHERE ('pg_catalog.pg_class'::pg_catalog.regclass, c.oid) IN (SELECT classid, objid FROM members)
            UNION ALL
            SELECT 'TYPE', t.oid::pg_catalog.regtype::text, t.typowner,
                   coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))
              FROM pg_catalog.pg_type t
             WHERE ('pg_catalog.pg_class'::pg_catalog.regclass, t.typrelid) IN (SELECT classid, objid FROM members)
            UNION ALL
            SELECT 'ROUTINE', p.oid::pg_catalog.regprocedure::text, p.proowner,
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
              FROM pg_catalog.pg_proc p
             WHERE ('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid) IN (SELECT classid, objid FROM members)
            UNION ALL
            SELECT 'FOREIGN DATA WRAPPER', pg_catalog.quote_ident(f.fdwname), f.fdwowner,
                   coalesce(f.fdwacl, pg_catalog.acldefault('F', f.fdwowner))
              FROM pg_catalog.pg_foreign_data_wrapper f
             WHERE ('pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, f.oid) IN (SELECT classid, objid FROM members))
        SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s %s FROM %s', a.kind, a.name,
                                          CASE WHEN g.grantee = 0 THEN 'PUBLIC'
                                               ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END)
          FROM acls a, LATERAL pg_catalog.aclexplode(a.acl) g
         WHERE g.grantee <> a.owner
    LOOP
        EXECUTE statement;
    END LOOP;
    -- pg_dump warns of each row type that is noted here.
    DELETE FROM pg_catalog.pg_init_privs i USING pg_catalog.pg_type t
     WHERE i.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass AND i.objoid = t.oid
       AND t.typnamespace = 'mixpeek'::pg_catalog.regnamespace;
END
$privileges$;

GRANT USAGE ON SCHEMA mixpeek TO PUBLIC;
GRANT SELECT ON mixpeek.outbox, mixpeek.documents, mixpeek.origin, mixpeek.places, mixpeek.forgotten, mixpeek.dump,
    mixpeek.mirrors, mixpeek.taxonomies, mixpeek.clusters TO PUBLIC;
GRANT EXECUTE ON ROUTINE mixpeek.fdw_validator(text[], oid),
    mixpeek.create_document(text, jsonb, jsonb, jsonb, jsonb, name),
    mixpeek.get_document(text, text, boolean, boolean, name),
    mixpeek.update_document(text, text, jsonb, name),
    mixpeek.delete_document(text, text, name),
    mixpeek.list_documents(text, jsonb, jsonb, text, bigint, boolean, boolean, name),
    mixpeek.may_read(regclass),
    mixpeek.dump_content(),
    mixpeek.mirror_row(),
    mixpeek.mirror(regclass, text, jsonb, name, boolean, name, name, text, text),
    mixpeek.resync(regclass, text),
    mixpeek.unmirror(regclass, text, boolean),
    mixpeek.preview(regclass, text, text),
    mixpeek.document_key(anyelement),
    mixpeek.retry(regclass, text, text),
    mixpeek.refresh(regclass, text),
    mixpeek.mirror_arguments(oid),
    mixpeek.sync(),
    mixpeek.wait(interval),
    mixpeek.enrichment_number(jsonb),
    mixpeek.enrichment_taxonomies(jsonb),
    mixpeek.enrichment_clusters(jsonb)
    TO PUBLIC;
