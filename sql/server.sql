--
-- Servers and keys: options, privileges, look-up
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS mixpeek_docs;
RESET client_min_messages;

-- options of the wrapper: none
ALTER FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (ADD base_url 'https://x');

-- an option that does not exist is answered with those that do
CREATE SERVER test_server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (url 'https://x');
CREATE SERVER test_server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (api_key 'sk_secret');

-- base_url
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN sqlstate || ' ' || sqlerrm || coalesce(nullif(' / ' || detail, ' / '), '');
END;
$$;
CREATE FUNCTION pg_temp.try_option(option text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try(format(
        'DO $do$ BEGIN
            CREATE SERVER try_server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (%I %L);
            DROP SERVER try_server;
        END $do$', option, value));
$$;
SELECT value, pg_temp.try_option('base_url', value) FROM unnest(ARRAY[
    'https://api.mixpeek.com',
    'https://api.mixpeek.com/',
    'https://api.mixpeek.com/v1',
    'https://api.example.com:8443/some/path',
    'HTTPS://API.EXAMPLE.COM',
    'http://127.0.0.1:8080',
    'http://127.9.9.9',
    'http://localhost:1',
    'http://[::1]:8080/',
    'http://api.example.com',
    'http://128.0.0.1',
    'http://127.0.0.1.example.com',
    'http://localhost.example.com',
    'http://[::2]',
    'https://user:password@api.example.com',
    'http://127.0.0.1@example.com',
    'http://127.0.0.1\@example.com',
    'https://api.example.com?x=1',
    'https://api.example.com#x',
    'https://api.example.com/?',
    'ftp://127.0.0.1',
    'file:///etc/passwd',
    'api.example.com',
    'https://',
    '',
    'https://api.example.com/ x',
    E'https://api.example.com/\nx']) value;

-- plain http to others, if a superuser says so
SET mixpeek.allow_http = on;
SELECT pg_temp.try_option('base_url', 'http://api.example.com');
RESET mixpeek.allow_http;

-- the other options
SELECT option, value, pg_temp.try_option(option, value) FROM (VALUES
    ('namespace', 'netflix_prod'), ('namespace', ''), ('namespace', E'a\r\nX-Evil: 1'), ('namespace', ' a'),
    ('connect_timeout', '10'), ('connect_timeout', '0.25'), ('connect_timeout', '250ms'), ('connect_timeout', '2min'),
    ('connect_timeout', '0'), ('connect_timeout', '-1'), ('connect_timeout', 'soon'), ('connect_timeout', '10 parsecs'),
    ('connect_timeout', 'NaN'), ('request_timeout', '30'), ('request_timeout', '2d'), ('request_timeout', ''),
    ('max_connections', '1'), ('max_connections', '1000'), ('max_connections', '0'), ('max_connections', '1001'),
    ('max_connections', 'many'),
    ('requests_per_minute', '600'), ('requests_per_minute', '0.5'), ('requests_per_minute', '0'),
    ('requests_per_minute', 'infinity'), ('requests_per_minute', 'fast'),
    ('ca_file', '/etc/ssl/ca.pem'), ('ca_file', 'ca.pem'), ('ca_file', ''),
    ('if_unfindable', 'fail'), ('if_unfindable', 'create'), ('if_unfindable', 'shrug'),
    ('contract', '2026-10'), ('contract', '2026-03'), ('contract', '')) t(option, value);

-- ca_file is for those who may read the server's files
CREATE ROLE regress_mixpeek_owner;
CREATE ROLE regress_mixpeek_user;
GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO regress_mixpeek_owner;
SET ROLE regress_mixpeek_owner;
CREATE SERVER try_server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (ca_file '/etc/ssl/ca.pem');
SET mixpeek.allow_http = on;
RESET ROLE;
GRANT pg_read_server_files TO regress_mixpeek_owner;
SET ROLE regress_mixpeek_owner;
CREATE SERVER try_server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (ca_file '/etc/ssl/ca.pem');
DROP SERVER try_server;
RESET ROLE;

-- keys
CREATE SERVER test_server FOREIGN DATA WRAPPER mixpeek_docs
    OPTIONS (base_url 'http://127.0.0.1:1/', namespace 'regress');
CREATE USER MAPPING FOR CURRENT_USER SERVER test_server;
CREATE USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (api_key '');
CREATE USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (api_key 'sk secret');
CREATE USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (api_key E'sk_secret\nX-Evil: 1');
CREATE USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (api_key 'sk_secret', password 'x');
DO $$ BEGIN
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (api_key %L)', repeat('k', 8192));
END $$;
ALTER USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (DROP api_key);
ALTER USER MAPPING FOR CURRENT_USER SERVER test_server OPTIONS (SET api_key 'sk_regress');

-- who may use a server, and with which key
SELECT mixpeek.get_document('c', 'd', server => 'no such server');
SET ROLE regress_mixpeek_user;
SELECT mixpeek.get_document('c', 'd', server => 'test_server');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER test_server TO regress_mixpeek_user;
SET ROLE regress_mixpeek_user;
SELECT mixpeek.get_document('c', 'd', server => 'test_server');
RESET ROLE;
CREATE USER MAPPING FOR PUBLIC SERVER test_server OPTIONS (api_key 'sk_public');
SET ROLE regress_mixpeek_user;
SELECT mixpeek.get_document('c', 'd', server => 'test_server');
-- keys are to be seen by those alone who may change them
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'test_server';
RESET ROLE;

-- another wrapper's server
CREATE FOREIGN DATA WRAPPER regress_other;
CREATE SERVER other_server FOREIGN DATA WRAPPER regress_other;
SELECT mixpeek.get_document('c', 'd', server => 'other_server');
DROP FOREIGN DATA WRAPPER regress_other CASCADE;

-- base_url is looked at again when it is used
SET mixpeek.allow_http = on;
ALTER SERVER test_server OPTIONS (SET base_url 'http://api.example.com');
RESET mixpeek.allow_http;
SELECT mixpeek.get_document('c', 'd', server => 'test_server');

SET client_min_messages = warning;
DROP SERVER test_server CASCADE;
REVOKE ALL ON FOREIGN DATA WRAPPER mixpeek_docs FROM regress_mixpeek_owner;
DROP ROLE regress_mixpeek_owner;
DROP ROLE regress_mixpeek_user;
