# What held when it was tried against 1.0, and must go on to hold: nobody's statements about what is not theirs, readings, servers,
# names, answers, settings of a database, and functions called as nobody should.
use strict;
use warnings;
use JSON::PP;
use MixpeekTest::Attack;
use Test::More;

attack_cluster();

# Statements, each by each role: refused, or (SELECTs and what changes nothing) without a row and without a change.
sub none_of
{
	my ($role, @statements) = @_;
	my @done;

	foreach my $statement (@statements)
	{
		my ($status, $out, $err) = MixpeekTest::Attack::run_as($role, "\\set ON_ERROR_STOP 1\n$statement");
		push @done, "$role: $statement: $out" if $status == 0 && $out ne '' || $status == 0 && $statement !~ /^(SELECT|UPDATE|DELETE|SET|GRANT)/i;
	}
	is(join("\n", @done), '', "$role: " . @statements . ' statements, each refused or without effect');
	return;
}

# 2 (27)
my @tables = qw(documents outbox origin forgotten);
my @on_tables = (
	(map { my $t = "mixpeek.$_"; (
		"DELETE FROM $t WHERE true RETURNING *", "TRUNCATE $t", "LOCK TABLE $t IN ACCESS EXCLUSIVE MODE", "LOCK TABLE $t IN ROW EXCLUSIVE MODE", "SELECT * FROM $t WHERE true FOR UPDATE",
		"SELECT * FROM $t FOR KEY SHARE", "ALTER TABLE $t DISABLE ROW LEVEL SECURITY", "ALTER TABLE $t ADD x int", "ALTER TABLE $t OWNER TO nobody", "ALTER TABLE $t SET (fillfactor = 10)",
		"CREATE INDEX ON $t (ctid)", "CREATE TRIGGER x BEFORE INSERT ON $t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "CREATE RULE x AS ON INSERT TO $t DO INSTEAD NOTHING",
		"CREATE POLICY x ON $t USING (true)", "COMMENT ON TABLE $t IS 'x'", "DROP TABLE $t CASCADE", "ALTER TABLE $t RENAME TO x", "CREATE STATISTICS mixpeek.x ON tableoid, ctid FROM $t",
		"REINDEX TABLE $t", "CLUSTER $t", "GRANT ALL ON $t TO PUBLIC") } @tables),
	"INSERT INTO mixpeek.outbox VALUES ('owner_a.t', 'U', 't', '1')", "INSERT INTO mixpeek.documents (relation, collection, key, state, server, marker) VALUES ('owner_a.t', 't', '1', 'mirrored', 'x', 'x')",
	"INSERT INTO mixpeek.origin (system_identifier, database, instance) VALUES (1, 1, 'x')", "INSERT INTO mixpeek.forgotten VALUES ('', '')",
	"UPDATE mixpeek.documents SET state = 'failed' RETURNING *", "UPDATE mixpeek.origin SET id = gen_random_uuid() RETURNING *",
	'CREATE TABLE mixpeek.x (a int)', 'CREATE FUNCTION mixpeek.may_read(regclass) RETURNS boolean LANGUAGE sql AS \'SELECT true\'', "CREATE OR REPLACE FUNCTION mixpeek.may_read(relation regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
	'CREATE VIEW mixpeek.x AS SELECT 1', 'ALTER SCHEMA mixpeek RENAME TO x', 'DROP SCHEMA mixpeek CASCADE', 'ALTER EXTENSION mixpeek_docs SET SCHEMA public', 'DROP EXTENSION mixpeek_docs CASCADE', 'ALTER EXTENSION mixpeek_docs UPDATE',
	'ALTER EXTENSION mixpeek_docs DROP TABLE mixpeek.documents', 'CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION mixpeek.on_drop()', 'ALTER EVENT TRIGGER mixpeek_on_drop DISABLE', 'DROP EVENT TRIGGER mixpeek_on_drop',
	'CREATE PUBLICATION x FOR TABLE mixpeek.documents', 'CREATE PUBLICATION y FOR ALL TABLES', 'SELECT mixpeek.adopt()', 'SELECT mixpeek.adopt(true)',
	"SELECT mixpeek.mirror('owner_a.secret', 'x', server => 'owner_a')", "SELECT mixpeek.unmirror('owner_a.secret', delete_documents => true)", "SELECT mixpeek.preview('owner_a.secret', '1')",
	"SELECT mixpeek.retry('owner_a.secret')", "SELECT mixpeek.refresh('owner_a.secret')", 'SELECT NULLIF(mixpeek.retry(), 0)',
	'SET mixpeek.enabled = off', "SET mixpeek.read_timeout = '1d'", "SET mixpeek.instance = 'x'", 'SET mixpeek.allow_http = on', 'ALTER SYSTEM SET mixpeek.enabled = off', 'ALTER DATABASE template1 SET mixpeek.enabled = off',
	"ALTER SERVER owner_a OPTIONS (SET namespace 'x')", 'DROP SERVER owner_a CASCADE', "CREATE USER MAPPING FOR PUBLIC SERVER owner_a OPTIONS (api_key 'x')", 'GRANT USAGE ON FOREIGN SERVER owner_a TO PUBLIC',
	'DROP USER MAPPING FOR owner_a SERVER owner_a', 'CREATE SERVER x FOREIGN DATA WRAPPER mixpeek_docs', 'ALTER FOREIGN DATA WRAPPER mixpeek_docs NO VALIDATOR', 'SELECT umoptions FROM pg_user_mapping', q{SELECT umoptions FROM pg_user_mappings WHERE umoptions::text <> '{api_key=sk_secret_' || current_user || '}'},
	q{SELECT option_value FROM information_schema.user_mapping_options WHERE option_value <> 'sk_secret_' || current_user}, "SELECT mixpeek.list_documents('secret', server => 'owner_a')", "SELECT mixpeek.get_document('secret', 'x', server => 'owner_a')",
	"SELECT mixpeek.create_document('secret', server => 'owner_a')", "SELECT mixpeek.delete_document('secret', 'x', server => 'owner_a')", "SELECT mixpeek.update_document('secret', 'x', '{}', server => 'owner_a')");

attack "statements about the extension's objects and others' servers" => sub { none_of($_, @on_tables) foreach qw(nobody db_owner attacker) };

# 3 (28)
attack 'reads of records of tables that a role may not read' => sub {
	sql_as('attacker', q{CREATE FUNCTION attacker.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE EXCEPTION 'leaked: %', $1; END $$;
		GRANT EXECUTE ON FUNCTION attacker.leak(text) TO PUBLIC});
	my @readings = (
		(map { ("SELECT * FROM mixpeek.$_", "SELECT * FROM mixpeek.$_ WHERE attacker.leak(key)", "SELECT * FROM mixpeek.$_ x WHERE attacker.leak(x::text)", "SELECT key FROM mixpeek.$_ WHERE 1 / (length(key) - 1) = 7",
			"SELECT key FROM mixpeek.$_ WHERE key::int = -7", "SELECT 1 FROM mixpeek.$_ HAVING count(*) > 0", "SELECT relation FROM mixpeek.$_ GROUP BY 1", "SELECT max(key) FROM mixpeek.$_ HAVING max(key) IS NOT NULL") } qw(documents taxonomies clusters)),
		'SELECT * FROM mixpeek.outbox', 'SELECT key FROM mixpeek.outbox WHERE attacker.leak(key)', 'SELECT * FROM mixpeek.mirrors WHERE relation = \'owner_a.secret\'::regclass AND document IS NOT NULL',
		"SELECT most_common_vals FROM pg_stats WHERE schemaname = 'mixpeek'", "SELECT histogram_bounds FROM pg_stats WHERE schemaname IN ('mixpeek', 'owner_a')", 'SELECT * FROM mixpeek.forgotten',
		"SELECT * FROM pg_statistic", "SELECT pg_get_viewdef('owner_a.secret')", "COPY (SELECT * FROM mixpeek.documents) TO STDOUT", "COPY mixpeek.documents TO STDOUT", "SELECT get_raw_page('mixpeek.documents', 0)",
		'SET row_security = off; SELECT * FROM mixpeek.documents', "SELECT 'x' FROM mixpeek.documents WHERE enrichments @> '{}'", "SELECT query_to_xml('TABLE mixpeek.documents', false, false, '')::text WHERE query_to_xml('SELECT key FROM mixpeek.documents', false, false, '')::text ~ 'key>'");
	sql('ANALYZE mixpeek.documents');
	foreach my $role (qw(nobody db_owner attacker))
	{
		foreach my $reading (@readings)
		{
			my (undef, $out, $err) = MixpeekTest::Attack::run_as($role, $reading);
			unlike($out . $err, qr/leaked|fresh|secret of|division by zero|invalid input syntax|sk_secret|\bwb\b|:owner_a\./, "no data of others is read: $role: $reading") if "$out$err" =~ /leaked|division by zero|invalid input syntax|secret of|sk_secret|:owner_a\./;
			is($out =~ s/^<table.*//rs, '', "no row is returned: $role: $reading") if $out ne '' && $reading !~ /mirrors|forgotten/;
		}
	}
	pass(scalar(@readings) . ' reads, each by three roles');
	# Of one column, under policies, through a view of somebody's.
	sql_as('owner_a', q{CREATE TABLE owner_a.partly (id int PRIMARY KEY, hidden text); GRANT SELECT (id) ON owner_a.partly TO reader;
		CREATE TABLE owner_a.policed (id int PRIMARY KEY); ALTER TABLE owner_a.policed ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON owner_a.policed USING (id < 2); GRANT SELECT ON owner_a.policed TO reader;
		INSERT INTO owner_a.partly VALUES (1, 'x'); INSERT INTO owner_a.policed VALUES (1), (2);
		SELECT mixpeek.mirror('owner_a.partly', 'partly', server => 'owner_a'), mixpeek.mirror('owner_a.policed', 'policed', server => 'owner_a');
		CREATE VIEW owner_a.all_lines AS SELECT * FROM mixpeek.documents; GRANT SELECT ON owner_a.all_lines TO attacker});
	wait_for_lines("owner_a.$_", 'mirrored') foreach qw(partly policed);
	is(sql_as('reader', "SELECT string_agg(DISTINCT relation::text, ' ') FROM mixpeek.documents"), 'owner_a.t', 'reader sees the records of tables that she may read all of');
	is(sql_as('attacker', 'SELECT count(*) FROM owner_a.all_lines'), 0, "attacker sees no record through a view of owner_a's");
	sql('DROP TABLE owner_a.partly, owner_a.policed; DROP VIEW owner_a.all_lines');
};

# 4 (29)
attack 'http to any other host, with whatever mixpeek.allow_http', rights => { usage_on_wrapper => 1, create_on_database => 1 } => sub {
	my $create = "CREATE SERVER h FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://192.0.2.1')";
	foreach my $before ('', 'SET mixpeek.allow_http = on', "SELECT set_config('mixpeek.allow_http', 'on', false)", 'SET LOCAL mixpeek.allow_http = on', "LOAD 'mixpeek_docs'; SET mixpeek.allow_http = on",
		'ALTER ROLE attacker SET mixpeek.allow_http = on', 'CREATE FUNCTION attacker.f() RETURNS int LANGUAGE sql SET mixpeek.allow_http = on AS \'SELECT 1\'; SELECT attacker.f()',
		"DO \$\$ BEGIN EXECUTE 'SET mixpeek.allow_http = on'; EXCEPTION WHEN OTHERS THEN NULL; END \$\$")
	{
		isnt(refusal('attacker', "$before; $create"), '', "refused: CREATE SERVER with http, " . ($before || 'with no setting'));
		isnt(refusal('attacker', $create), '', "refused: CREATE SERVER with http in the session after " . ($before || 'no setting'));
	}
	local $ENV{PGOPTIONS} = '-c mixpeek.allow_http=on';
	isnt(refusal('attacker', $create), '', 'refused: CREATE SERVER with http and PGOPTIONS');
	sql('ALTER ROLE attacker RESET ALL');
};

# 5 (30)
attack 'values of options that must be refused', rights => { usage_on_wrapper => 1 } => sub {
	my @urls = ('http://localhost@evil.example', 'http://127.0.0.1@evil.example/', 'http://evil.example#@localhost', 'http://evil.example\\@127.0.0.1', 'http://127.0.0.1.evil.example', 'http://localhost.evil.example', 'http://evil.example?localhost',
		'http://[::ffff:8.8.8.8]', 'http://169.254.169.254', 'http://0', 'http://0.0.0.0', 'http://localhost..', 'http://127.0.0.1.', 'file:///etc/passwd', 'gopher://127.0.0.1', 'ftp://127.0.0.1', 'dict://127.0.0.1', 'unix:///tmp/x', "http://\x{ff11}27.0.0.1", 'http://127.0.0.1%00.evil.example',
		"http://127.0.0.1\r\nX: y", "http://127.0.0.1/\n", 'http://127.0.0.1:99999', 'http://127.0.0.1:port', 'http://', 'https://', '', 'localhost', '//localhost', 'javascript:alert(1)', 'http://user:password@127.0.0.1', 'https://user@api.mixpeek.com', 'http://127.0.0.1/?x=y',
		'http://127.0.0.1/#x', "https://\x07", 'https:// api', 'HTTP://evil.example', 'http://[::1', 'http://2130706433.evil.example', 'http://127.0.0.1,evil.example', 'http://127.0.0.1;evil.example', 'http://localhost:80@evil.example:443');
	foreach my $url (@urls)
	{
		(my $quoted = $url) =~ s/'/''/g;
		utf8::encode($quoted);
		isnt(refusal('attacker', "CREATE SERVER u FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$quoted')"), '', 'refused: base_url ' . JSON::PP->new->ascii->allow_nonref->encode(substr($url, 0, 60)));
	}
	foreach my $option ("namespace E'x\\r\\nY: z'", "namespace ''", "connect_timeout '-1'", "connect_timeout 'NaN'", "request_timeout '0'", "request_timeout 'forever'", "request_timeout '1e400'", "max_connections '0'", "max_connections '1e9'", "max_connections 'NaN'",
		"requests_per_minute '-1'", "requests_per_minute 'NaN'", "requests_per_minute 'Infinity'", "ca_file '/etc/passwd'", "ca_file '../x'", "if_unfindable 'x'", "nonsense '1'")
	{
		isnt(refusal('attacker', "CREATE SERVER u FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($option)"), '', "refused: $option");
	}
	isnt(refusal('attacker', "ALTER USER MAPPING FOR attacker SERVER attacker OPTIONS (SET api_key E'$_')"), '', "refused: the key $_") foreach '', 'a\\r\\nX: y', 'a\\nb', 'a b\\u0007';
};

# 6 (31t)
attack 'certificates that must not be trusted' => sub {
	my $files = MixpeekTest::make_certificates(good => 'IP:127.0.0.1', wrong => 'DNS:elsewhere.example');
	my %apis = map { $_ => MixpeekTest::Server->new(api_key => 'sk_secret_superuser', tls_cert => $files->{$_}{cert}, tls_key => $files->{$_}{key}) } qw(good wrong);
	my %servers = (selfsigned => [ $apis{good}->url, '' ], wronghost => [ $apis{wrong}->url, ", ca_file '$files->{ca}'" ], plain => [ api('superuser')->url =~ s/^http:/https:/r, '' ],
		good => [ $apis{good}->url, ", ca_file '$files->{ca}'" ]);
	foreach my $name (sort keys %servers)
	{
		my ($url, $more) = @{ $servers{$name} };
		sql("CREATE SERVER tls_$name FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$url', namespace 'test', request_timeout '3'$more);
			CREATE USER MAPPING FOR CURRENT_USER SERVER tls_$name OPTIONS (api_key 'sk_secret_superuser')");
		my $refusal = refusal('superuser', "SELECT mixpeek.create_document('c', metadata => '{}', server => 'tls_$name')");
		$name eq 'good' ? is($refusal, '', "$name is trusted") : isnt($refusal, '', "$name is refused: $refusal");
	}
	sql("GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO attacker; ALTER SERVER tls_good OWNER TO attacker");
	isnt(refusal('attacker', "ALTER SERVER tls_good OPTIONS (SET ca_file '/etc/passwd')"), '', 'refused: ca_file by an owner who is no superuser');
	isnt(refusal('attacker', "ALTER SERVER tls_good OPTIONS (SET base_url 'https://127.0.0.1:1')"), '', 'refused: base_url of a server with ca_file by an owner who is no superuser');
	sql("DROP SERVER tls_$_ CASCADE") foreach keys %servers;
	sql('REVOKE USAGE ON FOREIGN DATA WRAPPER mixpeek_docs FROM attacker');
};

# 7 (85)
attack 'ids and collections that are paths' => sub {
	foreach my $id ('..', '.', '', '../../x', 'a/../b', '%2e%2e', "a\r\nX: y", 'a?b=c', 'a#b', 'a/b', "a\x01b", 'a%00', '....', '/')
	{
		(my $quoted = $id) =~ s/'/''/g;
		refusal('attacker', "SELECT mixpeek.get_document('c', '$quoted', server => 'attacker')");
		refusal('attacker', "SELECT mixpeek.delete_document('$quoted', 'x', server => 'attacker')");
		refusal('attacker', "CREATE TABLE attacker.p (id int PRIMARY KEY); SELECT mixpeek.mirror('attacker.p', '$quoted', server => 'attacker'); INSERT INTO attacker.p VALUES (1); SELECT mixpeek.wait('2s'); DROP TABLE attacker.p");
	}
	my @odd = grep { $_ !~ m{^/v1/collections/(?!\.{1,2}/)[^/?#]+/documents(/(?!\.{1,2}$)[^/?#]+)?$} } map { $_->{path} } @{ api('attacker')->requests };
	is(join(' ', @odd), '', "no request has another path than a collection's documents");
};

# 8 (56)
foreach my $setting ('', 'ALTER DATABASE postgres SET standard_conforming_strings = off', 'ALTER DATABASE postgres SET quote_all_identifiers = on', "ALTER DATABASE postgres SET search_path = attacker, pg_catalog")
{
	attack 'names with unusual characters' . ($setting && ", under $setting"), gains => qr/settings of roles and databases: \(/, sub {
		sql($setting) if $setting;
		foreach my $name (q{a'b"c\\d$$e;--f}, "tab\tnewline\nreturn\r\x01\x7f", q{${x}%s%d{}[]}, 'select', "\xc3\xbc\xe2\x82\xac" x 12, "'; DROP TABLE owner_a.t; --", '\\\\', '$1', '*')
		{
			my ($i, $l) = map { my $x = $name; $x =~ s/$_/$_$_/g; $x } '"', "'";
			# Literals that mean the same whatever standard_conforming_strings says.
			my $e = 'E\'' . ($name =~ s/([\\'])/\\$1/gr) . '\'';
			sql(qq{CREATE SCHEMA "$i" AUTHORIZATION attacker});
			sql_as('attacker', qq{
				CREATE TABLE "$i"."$i" ("$i" text PRIMARY KEY, other int, "d$i" text, "e$i" jsonb);
				SELECT mixpeek.mirror((SELECT oid::regclass FROM pg_class WHERE relname = ($e)::name), $e, server => 'attacker',
					document_id_column => (E'd' || $e)::name, enrichments_column => (E'e' || $e)::name);
				INSERT INTO "$i"."$i" VALUES ($e, 1)});
			my $relation = sql(qq{SELECT oid FROM pg_class WHERE relname = ($e)::name});
			wait_for_lines($relation, 'mirrored');
			wait_for('the write-back', sub { sql(qq{SELECT "d$i" IS NOT NULL FROM "$i"."$i"}) eq 't' });
			sql_as('attacker', qq{UPDATE "$i"."$i" SET other = 2; SELECT mixpeek.wait('20s');
				SELECT mixpeek.unmirror((SELECT oid::regclass FROM pg_class WHERE relname = ($e)::name), delete_documents => true); DROP TABLE "$i"."$i"});
			sql(qq{DROP SCHEMA "$i"});
		}
		pass('tables of all names are mirrored, written back and unmirrored');
	};
}

# 9
my $json = '{"document_id": "x", "collection_id": "c"';
my %hostile = (
	'HTML' => [ 200, '<html>' . 'x' x 10000 . '</html>' ], 'nothing' => [ 200, '' ], 'null' => [ 200, 'null' ], 'a number' => [ 200, '1e999999' ], 'a zero byte' => [ 200, '{"document_id": "a\\u0000b"}' ],
	'lone surrogates' => [ 200, '{"document_id": "\\ud800"}' ], 'broken UTF-8' => [ 200, "{\"document_id\": \"\xff\xfe\"}" ], 'an id that is a list' => [ 200, '{"document_id": ["x"]}' ], 'an id of 10 MB' => [ 200, '{"document_id": "' . 'x' x 10_000_000 . '"}' ],
	'an id that is a path' => [ 200, '{"document_id": ".."}' ], 'an id with line breaks' => [ 200, '{"document_id": "a\\r\\nb"}' ], 'depth' => [ 200, '{"document_id": "x", "enrichments": ' . '[' x 100000 . ']' x 100000 . '}' ],
	'a huge number' => [ 200, "$json, \"enrichments\": {\"a\": 1" . '0' x 100000 . '}}' ], 'huge exponents' => [ 200, "$json, \"enrichments\": [" . join(',', ('1e131071') x 2000) . ']}' ], 'status 999' => [ 999, 'x' ], 'status 204' => [ 204, '' ],
	'the key' => [ 400, '{"error": {"type": "sk_secret_attacker", "message": "Authorization: Bearer sk_secret_attacker"}}' ], 'the key in an answer that is taken' => [ 200, "$json, \"enrichments\": {\"k\": \"sk_secret_attacker\"}}" ],
	'controls in an error' => [ 422, "{\"detail\": \"a\\u0007\\u001b[31m\\u202e\\u009b\\nb\"}" ], 'an error of 1 MB' => [ 422, '{"detail": "' . 'x' x 1_000_000 . '"}' ]);
foreach my $name (sort keys %hostile)
{
	attack "hostile answer: $name" => sub {
		my ($status, $answer) = @{ $hostile{$name} };
		my $text = $answer;
		utf8::decode($text) or $text = '{"document_id": 7}';
		api('attacker')->faults({ kind => 'status_after', status => $status, answer => $text, count => 20 });
		sql_as('attacker', q{CREATE TABLE attacker.t (id int PRIMARY KEY, doc_id text, enrichments jsonb);
			SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', document_id_column => 'doc_id', enrichments_column => 'enrichments');
			INSERT INTO attacker.t VALUES (1), (2)});
		wait_for('an answer', sub { (api('attacker')->stats->{faults} // 0) > 0 });
		refusal('attacker', "SELECT mixpeek.get_document('t', 'x', server => 'attacker')");
		my (undef, undef, $err) = MixpeekTest::Attack::run_as('attacker', "SELECT mixpeek.list_documents('t', server => 'attacker')");
		unlike($err, qr/sk_secret|[\x00-\x08\x0b-\x1f]/, "a session's error has neither the key nor control characters");
		cmp_ok(length($err), '<', 20000, "a session's error has less than 20,000 bytes");
		unlike(sql("SELECT string_agg(coalesce(last_error, ''), ' ') FROM mixpeek.documents WHERE relation = 'attacker.t'::regclass"), qr/sk_secret|[\x00-\x09\x0b-\x1f]/, 'last_error has neither the key nor control characters');
	};
}

# 11
attack 'sync() in sessions with odd settings' => sub {
	sql_as('attacker', q{CREATE TABLE attacker.t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker')});
	my $id = 0;
	foreach my $setting ("SET default_transaction_isolation = 'serializable'", "SET default_transaction_isolation = 'repeatable read'", 'SET default_transaction_read_only = on', 'SET exit_on_error = on', 'SET work_mem = 64', 'SET search_path = pg_temp',
		'SET search_path = \'\'', 'SET row_security = off', 'SET client_min_messages = debug5', "SET statement_timeout = '20s'", 'SET quote_all_identifiers = on', 'SET standard_conforming_strings = off', 'SET jit = on', 'SET plan_cache_mode = force_custom_plan',
		"CREATE TEMP TABLE documents (relation regclass); SET search_path = pg_temp")
	{
		$id++;
		sql("INSERT INTO attacker.t VALUES ($id, 'x')");
		my $session = session('attacker');
		$session->send("$setting; CALL mixpeek.sync()");
		$session->wait;
	}
	wait_for_lines('attacker.t', 'mirrored');
	pass('all rows are mirrored');
	isnt(refusal('attacker', $_), '', "refused: $_") foreach 'BEGIN; CALL mixpeek.sync()', 'DO $$ BEGIN BEGIN CALL mixpeek.sync(); EXCEPTION WHEN no_data_found THEN NULL; END; END $$';
	refusal('attacker', 'DO $$ BEGIN CALL mixpeek.sync(); END $$');
	refusal('attacker', 'CREATE PROCEDURE attacker.p() LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN CALL mixpeek.sync(); END $$; CALL attacker.p()');
};

# 12 (105)
attack "objects with the names that the extension's statements use", rights => { create_on_database => 1 } => sub {
	sql_as('attacker', q{
		CREATE FUNCTION attacker.jsonb_build_object() RETURNS jsonb LANGUAGE sql AS 'SELECT ''{"forged": 1}''::jsonb';
		CREATE FUNCTION attacker.format(text) RETURNS text LANGUAGE sql AS 'SELECT ''forged''';
		CREATE FUNCTION attacker.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR attacker.= (LEFTARG = text, RIGHTARG = text, FUNCTION = attacker.eq);
		CREATE FUNCTION attacker.int_eq(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR attacker.= (LEFTARG = int, RIGHTARG = int, FUNCTION = attacker.int_eq);
		CREATE FUNCTION attacker.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS 'SELECT ''"forged"''::jsonb';
		CREATE FUNCTION attacker.coalesce_text(text) RETURNS text LANGUAGE sql AS 'SELECT ''forged''';
		CREATE TYPE attacker.text AS ENUM ('forged'); CREATE TYPE attacker.jsonb AS (x int); CREATE TABLE attacker.documents (relation int); CREATE TABLE attacker.outbox (relation int);
		CREATE TABLE attacker.pg_class (oid oid, relname name);
		CREATE TABLE attacker.t (id int PRIMARY KEY, v pg_catalog.text, doc_id pg_catalog.text, enrichments pg_catalog.jsonb);
		ALTER ROLE attacker SET search_path = attacker, pg_catalog});
	sql('ALTER DATABASE postgres SET search_path = attacker, pg_catalog');
	sql_as('attacker', q{
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', document_id_column => 'doc_id', enrichments_column => 'enrichments');
		INSERT INTO attacker.t VALUES (1, 'one'), (2, 'two')});
	wait_for_lines('attacker.t', 'mirrored');
	is(join(' ', map { documents('attacker', 't')->{$_}{v} } 1, 2), 'one two', 'the documents are those of the rows');
	is(sql('SELECT count(DISTINCT doc_id) FROM attacker.t'), 2, 'the ids that are written back are those of the rows');
	sql('ALTER DATABASE postgres RESET ALL; ALTER ROLE attacker RESET ALL');
};

# 13 (108). A worker that is ended waits a little longer each time, so settings come together.
my %settings = (
	'of rights' => [ "role = 'nobody'", "session_authorization = 'nobody'", "search_path = 'public'", 'row_security = off', "local_preload_libraries = 'nothing'", 'session_replication_role = replica', 'mixpeek.allow_http = on' ],
	'of time' => [ 'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1', 'idle_session_timeout = 1', 'deadlock_timeout = 1', 'transaction_timeout = 1' ],
	'of transactions and errors' => [ "default_transaction_isolation = 'serializable'", 'default_transaction_read_only = on', 'default_transaction_deferrable = on', 'exit_on_error = on', 'synchronous_commit = off' ],
	'of texts and plans' => [ 'standard_conforming_strings = off', "client_encoding = 'LATIN1'", "timezone = 'Asia/Tokyo'", "datestyle = 'German'", "bytea_output = 'escape'", 'quote_all_identifiers = on', 'jit_above_cost = 0', 'work_mem = 64', 'enable_indexscan = off',
		'max_parallel_workers = 0', "default_tablespace = ''", "temp_tablespaces = ''", "default_table_access_method = 'heap'", "plan_cache_mode = force_custom_plan", 'debug_print_plan = on' ]);
foreach my $name (sort keys %settings)
{
	attack "settings $name of the database, made by its owner, and a new worker", worker => 'any', gains => qr/settings of roles and databases: \(/, sub {
		my $owner = session('db_owner');
		my @refused = grep { $owner->refusal("ALTER DATABASE postgres SET $_") } @{ $settings{$name} };
		my $pid = worker_pid();
		sql("SELECT pg_terminate_backend($pid)");
		wait_for('another worker', sub { my $new = worker_pid(); $new && $new ne $pid });
		pass('a new worker comes; refused: ' . join(', ', @refused));
	};
}

# 14
attack 'signals, locks and calls of functions by roles without a right to them' => sub {
	sql('GRANT pg_signal_backend TO attacker') ;
	foreach my $pid (mixpeek_processes())
	{
		my $role = sql("SELECT coalesce(max(usename), '') FROM pg_stat_activity WHERE pid = $pid");
		next if $role eq 'attacker' || $role eq 'owner_a';
		isnt(refusal('attacker', "SELECT $_($pid)"), '', "refused: $_ of " . ($role || 'the launcher')) foreach qw(pg_terminate_backend pg_cancel_backend);
	}
	sql('REVOKE pg_signal_backend FROM attacker');
	my $session = session('nobody');
	$session->do("SELECT pg_advisory_lock(objid) FROM (SELECT DISTINCT ((classid::bigint << 32) | objid::bigint) AS objid FROM pg_locks WHERE locktype IN ('advisory', 'object') UNION SELECT oid::bigint FROM pg_database UNION SELECT oid::bigint FROM pg_extension) x");
	$session->do('SELECT pg_advisory_unlock_all()');
	my $attacker = session('attacker');
	my @functions = split(/\n/, sql(q{SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'mixpeek'::regnamespace AND prokind = 'f' ORDER BY 1}));
	my %values = (regclass => [ 'NULL', '0', '4294967295', "'pg_class'", "'mixpeek.documents'", "'owner_a.t'" ], oid => [ 'NULL', '0', '1259', '4294967295', "(SELECT min(oid) FROM pg_trigger)" ], text => [ 'NULL', "''", "repeat('x', 100000)", "'..'" ], jsonb => [ 'NULL', q('{}'), q('[]'), q('null') ],
		name => [ 'NULL', "''", "'owner_a'", "'attacker'" ], boolean => [ 'NULL', 'true' ], bigint => [ 'NULL', '-1', '9223372036854775807' ], interval => [ 'NULL', "'-1s'", "'0'", "'1 ms'" ], 'text[]' => [ 'NULL', "'{}'", "'{a,b}'", "'{NULL}'", "'{{a=b}}'" ]);
	foreach my $function (@functions)
	{
		my ($name, $types) = $function =~ /^(.*)\((.*)\)$/ or next;
		my @types = split(/,\s*/, $types);
		foreach my $try (0 .. 5)
		{
			my @arguments = map { my $list = $values{$_} // ['NULL']; "$list->[ $try % @$list ]::$_" } @types;
			next if $name =~ /wait$/ && $arguments[0] =~ /^NULL/;
			$attacker->refusal("SELECT $name(" . join(', ', @arguments) . ')');
			$attacker->refusal("CREATE TRIGGER x AFTER INSERT ON attacker.none FOR EACH ROW EXECUTE FUNCTION $name()") if $try == 0;
		}
	}
	pass(scalar(@functions) . ' functions are called with odd arguments');
	my $trigger = 'CREATE TABLE attacker.x (id int PRIMARY KEY); CREATE TRIGGER x %s ON attacker.x FOR EACH %s EXECUTE FUNCTION mixpeek.mirror_row(%s); INSERT INTO attacker.x VALUES (1); UPDATE attacker.x SET id = 2; DELETE FROM attacker.x; TRUNCATE attacker.x; DROP TABLE attacker.x';
	foreach my $when ('BEFORE INSERT', 'AFTER INSERT OR UPDATE OR DELETE', 'BEFORE TRUNCATE', 'AFTER TRUNCATE', 'INSTEAD OF INSERT', 'AFTER UPDATE OF id')
	{
		foreach my $row (qw(ROW STATEMENT))
		{
			$attacker->refusal(sprintf($trigger, $when, $row, $_)) && $attacker->refusal('DROP TABLE IF EXISTS attacker.x')
			  foreach '', "''", "'c'", "'c', 'server=nobody'", "'c', 'server=attacker', 'server=owner_a'", "'..'", "'c', 'document={'", "'c', 'table='", "'c', 'bogus=1'", "'c', 'document_id_column=id'", "'c', NULL";
		}
	}
	pass('triggers of every kind are tried');
};

# 15
attack 'rows and keys that are too large' => sub {
	sql_as('attacker', q{CREATE TABLE attacker.t (k text PRIMARY KEY, v text);
		ALTER TABLE attacker.t DROP CONSTRAINT t_pkey; ALTER TABLE attacker.t ADD COLUMN id serial; CREATE UNIQUE INDEX u ON attacker.t (id); ALTER TABLE attacker.t REPLICA IDENTITY USING INDEX u;
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker');
		INSERT INTO attacker.t VALUES ('large', repeat('x', 100000000)), ('small', 'x')});
	wait_for_lines('attacker.t', 'failed,mirrored');
	like(join(' ', map { $_->{last_error} // () } values %{ lines('attacker.t', 'failed') }), qr/too large|larger|more than|longer than mixpeek.read_timeout/, 'a row of 100 MB fails, with the reason');
	sql_as('attacker', q{CREATE TABLE attacker.keys (k text COLLATE "C" PRIMARY KEY); SELECT mixpeek.mirror('attacker.keys', 'keys', server => 'attacker');
		INSERT INTO attacker.keys VALUES (repeat('k', 200000)), (repeat('l', 5000)), ('m')});
	wait_for_lines('attacker.keys', 'failed,mirrored');
	pass('keys of 200,000 and 5,000 bytes fail, a short one is mirrored');
};

attacks_end();
