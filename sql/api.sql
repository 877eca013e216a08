--
-- The API as SQL functions: what is seen before a request is sent.  Nobody
-- listens at the server's address, so an error of the connection (08001) means
-- that the arguments have passed.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS mixpeek_docs;
RESET client_min_messages;
CREATE SERVER test_server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (api_key 'sk_regress');

-- the functions, as documented
\a\t
SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.provolatile, p.proparallel
  FROM pg_proc p
 WHERE p.pronamespace = 'mixpeek'::regnamespace AND p.prosrc ~ '^mixpeek_(create|get|update|delete|list)_documents?$'
 ORDER BY p.proname;
\a\t

-- an unreachable server
SELECT mixpeek.create_document('c', server => 'test_server');
SELECT mixpeek.get_document('c', 'd', server => 'test_server');
SELECT mixpeek.update_document('c', 'd', '{}', server => 'test_server');
SELECT mixpeek.delete_document('c', 'd', server => 'test_server');
SELECT mixpeek.list_documents('c', server => 'test_server');
SELECT * FROM mixpeek.list_documents('c', server => 'test_server');

-- required arguments
SELECT mixpeek.create_document(NULL, server => 'test_server');
SELECT mixpeek.create_document('', server => 'test_server');
SELECT mixpeek.create_document('c', server => NULL);
SELECT mixpeek.get_document(NULL, 'd', server => 'test_server');
SELECT mixpeek.get_document('c', NULL, server => 'test_server');
SELECT mixpeek.get_document('..', 'd', server => 'test_server');
SELECT mixpeek.get_document('c', '..', server => 'test_server');
SELECT mixpeek.update_document('c', NULL, '{}', server => 'test_server');
SELECT mixpeek.update_document('c', 'd', NULL, server => 'test_server');
SELECT mixpeek.delete_document('c', NULL, server => 'test_server');
SELECT mixpeek.list_documents(NULL, server => 'test_server');
SELECT mixpeek.list_documents('c', max_documents => 0, server => 'test_server');
SELECT mixpeek.list_documents('c', max_documents => -1, server => 'test_server');

-- what the contract says of a document
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION
    WHEN sqlstate '08001' THEN
        RETURN 'ok';
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
        RETURN sqlstate || ' ' || sqlerrm || coalesce(nullif(' / ' || hint, ' / '), '');
END;
$$;
CREATE FUNCTION pg_temp.try_create(argument text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try(format('SELECT mixpeek.create_document(''c'', %I => %L, server => ''test_server'')', argument, value));
$$;
CREATE FUNCTION pg_temp.try_source(changes text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try_create('source_details', jsonb_build_array(jsonb_strip_nulls(
        '{"type": "bucket", "source_id": "s", "object_id": "o", "feature_extractor_task_id": "t",
          "object_task_id": "t", "feature_extractor_id": "f"}'::jsonb || changes::jsonb))::text);
$$;
SELECT v, pg_temp.try_create('source_details', v) FROM unnest(ARRAY[
    '[]', '{}', '"x"', 'null', '[1]', '[{}]', '[{"type": "shelf"}]', '[{"type": "bucket"}]', '[{"type": 1}]']) v;
SELECT v, pg_temp.try_source(v) FROM unnest(ARRAY[
    '{}', '{"type": "Bucket"}', '{"source_id": 1}', '{"object_id": null}', '{"batch_id": "b"}', '{"batch_id": 7}',
    '{"unknown": [1]}', '{"source_blobs": {}}', '{"source_blobs": [{}]}',
    '{"source_blobs": [{"property": "p", "type": "image", "data": "https://x"}]}',
    '{"source_blobs": [{"property": "p", "type": "image", "data": {"x": 1}, "metadata": {}, "details": {"size_bytes": 1}}]}',
    '{"source_blobs": [{"property": "p", "type": "image"}]}',
    '{"source_blobs": [{"property": "p", "type": "picture", "data": 1}]}',
    '{"source_blobs": [{"property": "p", "type": "image", "data": 1, "metadata": []}]}',
    '{"source_blobs": [{"property": "p", "type": "image", "data": 1, "details": {"size_bytes": 1.5}}]}',
    '{"source_blobs": [{"property": "p", "type": "image", "data": 1, "details": {"size_bytes": 1.0}}]}',
    '{"source_blobs": [{"property": "p", "type": "image", "data": 1, "details": {"hash": 1}}]}']) v;
SELECT v, pg_temp.try_create('metadata', v) FROM unnest(ARRAY['{}', '{"a": [1, {"b": null}]}', 'null', '[]', '"x"', '1', 'true']) v;
SELECT v, pg_temp.try_create('features', v) FROM unnest(ARRAY[
    '[]', '{}', '[{}]', '[{"feature_extractor_id": "f"}]', '[{"feature_extractor_id": "f", "payload": []}]',
    '[{"feature_extractor_id": "f", "vectors": null}]', '[{"feature_extractor_id": "f", "vectors": [1, 2]}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [0.1, 2]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [1], "w": [2]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": []}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [[1, 2], [3, 4]]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"indices": [1, 2], "values": [0.1, 0.2]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": {"indices": [1, 2], "values": [0.1, 0.2]}}}]',
    '[{"feature_extractor_id": "f", "vectors": {"indices": [1, 2], "values": [0.1]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"indices": [1, "2"], "values": [0.1, 0.2]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": {"indices": [1]}}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [1, "2"]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [1, [2]]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [[1], 2]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": [[1, null]]}}]',
    '[{"feature_extractor_id": "f", "vectors": {"v": "1"}}]']) v;
SELECT v, pg_temp.try_create('extra', v) FROM unnest(ARRAY[
    '{}', '{"title": "x", "root_object_id": "o"}', '[]', '{"collection_id": "d"}', '{"metadata": {}}', '{"metadata": 1}',
    '{"source_details": []}', '{"source_type": "bucket"}', '{"source_type": "shelf"}', '{"source_type": null}',
    '{"lineage_chain": [{"collection_id": "c"}]}', '{"lineage_chain": [{"collection_id": "c", "feature_extractor_id": "f"}]}']) v;
SELECT mixpeek.create_document('c', metadata => '{}', extra => '{"metadata": {}}', server => 'test_server');

-- of an update
SELECT v, pg_temp.try(format('SELECT mixpeek.update_document(''c'', ''d'', %L, server => ''test_server'')', v))
  FROM unnest(ARRAY['{}', '{"metadata": {"a": 1}, "title": "x"}', '{"metadata": null}', '{"metadata": "x"}', '[]', '1']) v;

-- of a list
CREATE FUNCTION pg_temp.try_list(argument text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try(format('SELECT mixpeek.list_documents(''c'', %I => %L, server => ''test_server'')', argument, value));
$$;
SELECT v, pg_temp.try_list('filters', v) FROM unnest(ARRAY[
    '{}', '[]', '{"AND": []}', '{"AND": null}', '{"AND": {}}', '{"AND": [1]}', '{"case_sensitive": true}', '{"case_sensitive": 1}',
    '{"AND": [{"field": "metadata.x", "operator": "eq", "value": 1}]}',
    '{"AND": [{"field": "metadata.x", "value": null}]}',
    '{"AND": [{"field": "metadata.x"}]}',
    '{"AND": [{"operator": "eq", "value": 1}]}',
    '{"AND": [{"field": 1, "value": 1}]}',
    '{"OR": [{"NOT": [{"field": "metadata.x", "operator": "like", "value": 1}]}]}',
    '{"metadata.title": "x"}', '{"OR": [{"metadata.title": "x"}]}',
    '{"field": "metadata.x", "operator": "eq", "value": 1}']) v;
SELECT pg_temp.try_list('filters', repeat('{"AND": [', n) || '{"a": 1}' || repeat(']}', n)) FROM unnest(ARRAY[31, 32, 5000]) n;
SELECT v, pg_temp.try_list('sort', v) FROM unnest(ARRAY[
    '{"field": "created_at"}', '{"field": "created_at", "direction": "desc"}', '{"field": "created_at", "direction": "up"}',
    '{"direction": "asc"}', '{}', '[]']) v;

SET client_min_messages = warning;
DROP SERVER test_server CASCADE;
