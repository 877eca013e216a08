# Values that a role or an API may choose: addresses, certificates, ids, names, answers, settings, and sizes of rows and
# keys.
use strict;
use warnings;
use JSON::PP;
use MixpeekTest::Attack;
use Test::More;

attack_cluster();

attack 'http to any other host, with whatever mixpeek.allow_http',
	rights => { usage_on_wrapper => 1, create_on_database => 1 } => sub {
	my $create = "CREATE SERVER h FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://192.0.2.1')";
	foreach my $before ('', 'SET mixpeek.allow_http = on', "SELECT set_config('mixpeek.allow_http', 'on', false)",
		'SET LOCAL mixpeek.allow_http = on', "LOAD 'mixpeek_docs'; SET mixpeek.allow_http = on",
		'ALTER ROLE attacker SET mixpeek.allow_http = on',
		'CREATE FUNCTION attacker.f() RETURNS int LANGUAGE sql SET mixpeek.allow_http = on AS \'SELECT 1\';
			SELECT attacker.f()',
		"DO \$\$ BEGIN EXECUTE 'SET mixpeek.allow_http = on'; EXCEPTION WHEN OTHERS THEN NULL; END \$\$")
	{
		isnt(refusal('attacker', "$before; $create"), '', "refused: CREATE SERVER with http, "
			. ($before || 'with no setting'));
		isnt(refusal('attacker', $create), '', "refused: CREATE SERVER with http in the session after "
			. ($before || 'no setting'));
	}
	local $ENV{PGOPTIONS} = '-c mixpeek.allow_http=on';
	isnt(refusal('attacker', $create), '', 'refused: CREATE SERVER with http and PGOPTIONS');
	sql('ALTER ROLE attacker RESET ALL');
};

attack 'values of options that must be refused', rights => { usage_on_wrapper => 1 } => sub {
	my @urls = ('http://localhost@evil.example', 'http://127.0.0.1@evil.example/', 'http://evil.example#@localhost',
		'http://evil.example\\@127.0.0.1', 'http://127.0.0.1.evil.example', 'http://localhost.evil.example',
		'http://evil.example?localhost',
		'http://[::ffff:8.8.8.8]', 'http://169.254.169.254', 'http://0', 'http://0.0.0.0', 'http://localhost..',
		'http://127.0.0.1.', 'file:///etc/passwd', 'gopher://127.0.0.1', 'ftp://127.0.0.1', 'dict://127.0.0.1',
			'unix:///tmp/x', "http://\x{ff11}27.0.0.1", 'http://127.0.0.1%00.evil.example',
		"http://127.0.0.1\r\nX: y", "http://127.0.0.1/\n", 'http://127.0.0.1:99999', 'http://127.0.0.1:port',
			'http://', 'https://', '', 'localhost', '//localhost', 'javascript:alert(1)',
			'http://user:password@127.0.0.1', 'https://user@api.mixpeek.com', 'http://127.0.0.1/?x=y',
		'http://127.0.0.1/#x', "https://\x07", 'https:// api', 'HTTP://evil.example', 'http://[::1',
			'http://2130706433.evil.example', 'http://127.0.0.1,evil.example', 'http://127.0.0.1;evil.example',
			'http://localhost:80@evil.example:443');
	foreach my $url (@urls)
	{
		(my $quoted = $url) =~ s/'/''/g;
		utf8::encode($quoted);
		isnt(refusal('attacker', "CREATE SERVER u FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$quoted')"),
			'', 'refused: base_url ' . JSON::PP->new->ascii->allow_nonref->encode(substr($url, 0, 60)));
	}
	foreach my $option ("namespace E'x\\r\\nY: z'", "namespace ''", "connect_timeout '-1'", "connect_timeout 'NaN'",
		"request_timeout '0'", "request_timeout 'forever'", "request_timeout '1e400'", "max_connections '0'",
		"max_connections '1e9'", "max_connections 'NaN'",
		"requests_per_minute '-1'", "requests_per_minute 'NaN'", "requests_per_minute 'Infinity'",
		"ca_file '/etc/passwd'", "ca_file '../x'", "if_unfindable 'x'", "nonsense '1'")
	{
		isnt(refusal('attacker', "CREATE SERVER u FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($option)"), '',
			"refused: $option");
	}
	isnt(refusal('attacker', "ALTER USER MAPPING FOR attacker SERVER attacker OPTIONS (SET api_key E'$_')"), '',
		"refused: the key $_") foreach '', 'a\\r\\nX: y', 'a\\nb', 'a b\\u0007';
};

attack 'certificates that must not be trusted' => sub {
	my $files = MixpeekTest::make_certificates(good => 'IP:127.0.0.1', wrong => 'DNS:elsewhere.example');
	my %apis = map { $_ => MixpeekTest::Server->new(api_key => 'sk_secret_superuser', tls_cert => $files->{$_}{cert},
		tls_key => $files->{$_}{key}) } qw(good wrong);
	my %servers = (selfsigned => [ $apis{good}->url, '' ],
		wronghost => [ $apis{wrong}->url, ", ca_file '$files->{ca}'" ],
		plain => [ api('superuser')->url =~ s/^http:/https:/r, '' ],
		good => [ $apis{good}->url, ", ca_file '$files->{ca}'" ]);
	foreach my $name (sort keys %servers)
	{
		my ($url, $more) = @{ $servers{$name} };
		sql("CREATE SERVER tls_$name FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$url', namespace 'test',
			request_timeout '3'$more);
			CREATE USER MAPPING FOR CURRENT_USER SERVER tls_$name OPTIONS (api_key 'sk_secret_superuser')");
		my $refusal = refusal('superuser',
			"SELECT mixpeek.create_document('c', metadata => '{}', server => 'tls_$name')");
		$name eq 'good' ? is($refusal, '', "$name is trusted") : isnt($refusal, '', "$name is refused: $refusal");
	}
	sql("GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO attacker; ALTER SERVER tls_good OWNER TO attacker");
	isnt(refusal('attacker', "ALTER SERVER tls_good OPTIONS (SET ca_file '/etc/passwd')"), '',
		'refused: ca_file by an owner who is no superuser');
	isnt(refusal('attacker', "ALTER SERVER tls_good OPTIONS (SET base_url 'https://127.0.0.1:1')"), '',
		'refused: base_url of a server with ca_file by an owner who is no superuser');
	sql("DROP SERVER tls_$_ CASCADE") foreach keys %servers;
	sql('REVOKE USAGE ON FOREIGN DATA WRAPPER mixpeek_docs FROM attacker');
};

attack 'ids and collections that are paths' => sub {
	foreach my $id ('..', '.', '', '../../x', 'a/../b', '%2e%2e', "a\r\nX: y", 'a?b=c', 'a#b', 'a/b', "a\x01b",
		'a%00', '....', '/')
	{
		(my $quoted = $id) =~ s/'/''/g;
		refusal('attacker', "SELECT mixpeek.get_document('c', '$quoted', server => 'attacker')");
		refusal('attacker', "SELECT mixpeek.delete_document('$quoted', 'x', server => 'attacker')");
		refusal('attacker', "CREATE TABLE attacker.p (id int PRIMARY KEY); SELECT mixpeek.mirror('attacker.p',
			'$quoted', server => 'attacker'); INSERT INTO attacker.p VALUES (1); SELECT mixpeek.wait('2s');
			DROP TABLE attacker.p");
	}
	my @paths = map { $_->{path} } @{ api('attacker')->requests };
	my @odd = grep { $_ !~ m{^/v1/collections/(?!\.{1,2}/)[^/?#]+/documents(/(?!\.{1,2}$)[^/?#]+)?$} } @paths;
	is(join(' ', @odd), '', "no request has another path than a collection's documents");
};

foreach my $setting ('', 'ALTER DATABASE postgres SET standard_conforming_strings = off',
	'ALTER DATABASE postgres SET quote_all_identifiers = on',
	"ALTER DATABASE postgres SET search_path = attacker, pg_catalog")
{
	attack 'names with unusual characters' . ($setting && ", under $setting"),
		gains => qr/settings of roles and databases: \(/, sub {
		sql($setting) if $setting;
		foreach my $name (q{a'b"c\\d$$e;--f}, "tab\tnewline\nreturn\r\x01\x7f", q{${x}%s%d{}[]}, 'select',
			"\xc3\xbc\xe2\x82\xac" x 12, "'; DROP TABLE owner_a.t; --", '\\\\', '$1', '*')
		{
			my ($i, $l) = map { my $x = $name; $x =~ s/$_/$_$_/g; $x } '"', "'";
			# Literals that mean the same whatever standard_conforming_strings says.
			my $e = 'E\'' . ($name =~ s/([\\'])/\\$1/gr) . '\'';
			sql(qq{CREATE SCHEMA "$i" AUTHORIZATION attacker});
			sql_as('attacker', qq{
				CREATE TABLE "$i"."$i" ("$i" text PRIMARY KEY, other int, "d$i" text, "e$i" jsonb);
				SELECT mixpeek.mirror((SELECT oid::regclass FROM pg_class WHERE relname = ($e)::name), $e,
					server => 'attacker',
					document_id_column => (E'd' || $e)::name, enrichments_column => (E'e' || $e)::name);
				INSERT INTO "$i"."$i" VALUES ($e, 1)});
			my $relation = sql(qq{SELECT oid FROM pg_class WHERE relname = ($e)::name});
			wait_for_states($relation, 'mirrored');
			wait_for('the write-back', sub { sql(qq{SELECT "d$i" IS NOT NULL FROM "$i"."$i"}) eq 't' });
			sql_as('attacker', qq{UPDATE "$i"."$i" SET other = 2; SELECT mixpeek.wait('20s');
				SELECT mixpeek.unmirror((SELECT oid::regclass FROM pg_class WHERE relname = ($e)::name),
					delete_documents => true); DROP TABLE "$i"."$i"});
			sql(qq{DROP SCHEMA "$i"});
		}
		pass('tables of all names are mirrored, written back and unmirrored');
	};
}

my $json = '{"document_id": "x", "collection_id": "c"';
my %hostile = (
	'HTML' => [ 200, '<html>' . 'x' x 10000 . '</html>' ], 'nothing' => [ 200, '' ], 'null' => [ 200, 'null' ],
	'a number' => [ 200, '1e999999' ], 'a zero byte' => [ 200, '{"document_id": "a\\u0000b"}' ],
	'lone surrogates' => [ 200, '{"document_id": "\\ud800"}' ],
		'broken UTF-8' => [ 200, "{\"document_id\": \"\xff\xfe\"}" ],
		'an id that is a list' => [ 200, '{"document_id": ["x"]}' ],
			'an id of 10 MB' => [ 200, '{"document_id": "' . 'x' x 10_000_000 . '"}' ],
	'an id that is a path' => [ 200, '{"document_id": ".."}' ],
		'an id with line breaks' => [ 200, '{"document_id": "a\\r\\nb"}' ],
		'depth' => [ 200, '{"document_id": "x", "enrichments": ' . '[' x 100000 . ']' x 100000 . '}' ],
	'a huge number' => [ 200, "$json, \"enrichments\": {\"a\": 1" . '0' x 100000 . '}}' ],
		'huge exponents' => [ 200, "$json, \"enrichments\": [" . join(',', ('1e131071') x 2000) . ']}' ],
		'status 999' => [ 999, 'x' ], 'status 204' => [ 204, '' ],
	'the key' => [ 400,
		'{"error": {"type": "sk_secret_attacker", "message": "Authorization: Bearer sk_secret_attacker"}}' ],
		'the key in an answer that is taken' => [ 200, "$json, \"enrichments\": {\"k\": \"sk_secret_attacker\"}}" ],
	'controls in an error' => [ 422, "{\"detail\": \"a\\u0007\\u001b[31m\\u202e\\u009b\\nb\"}" ],
		'an error of 1 MB' => [ 422, '{"detail": "' . 'x' x 1_000_000 . '"}' ]);
foreach my $name (sort keys %hostile)
{
	attack "hostile answer: $name" => sub {
		my ($status, $answer) = @{ $hostile{$name} };
		my $text = $answer;
		utf8::decode($text) or $text = '{"document_id": 7}';
		api('attacker')->faults({ kind => 'status_after', status => $status, answer => $text, count => 20 });
		sql_as('attacker', q{CREATE TABLE attacker.t (id int PRIMARY KEY, doc_id text, enrichments jsonb);
			SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', document_id_column => 'doc_id',
				enrichments_column => 'enrichments');
			INSERT INTO attacker.t VALUES (1), (2)});
		wait_for('an answer', sub { (api('attacker')->stats->{faults} // 0) > 0 });
		refusal('attacker', "SELECT mixpeek.get_document('t', 'x', server => 'attacker')");
		my (undef, undef, $err) = MixpeekTest::Attack::run_as('attacker',
			"SELECT mixpeek.list_documents('t', server => 'attacker')");
		unlike($err, qr/sk_secret|[\x00-\x08\x0b-\x1f]/,
			"a session's error has neither the key nor control characters");
		cmp_ok(length($err), '<', 20000, "a session's error has less than 20,000 bytes");
		unlike(sql("SELECT string_agg(coalesce(last_error, ''), ' ') FROM mixpeek.documents
			WHERE relation = 'attacker.t'::regclass"), qr/sk_secret|[\x00-\x09\x0b-\x1f]/,
				'last_error has neither the key nor control characters');
	};
}

attack 'sync() in sessions with odd settings' => sub {
	sql_as('attacker', q{CREATE TABLE attacker.t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('attacker.t',
		't', server => 'attacker')});
	my $id = 0;
	foreach my $setting ("SET default_transaction_isolation = 'serializable'",
		"SET default_transaction_isolation = 'repeatable read'", 'SET default_transaction_read_only = on',
		'SET exit_on_error = on', 'SET work_mem = 64', 'SET search_path = pg_temp',
		'SET search_path = \'\'', 'SET row_security = off', 'SET client_min_messages = debug5',
		"SET statement_timeout = '20s'", 'SET quote_all_identifiers = on', 'SET standard_conforming_strings = off',
			'SET jit = on', 'SET plan_cache_mode = force_custom_plan',
		"CREATE TEMP TABLE documents (relation regclass); SET search_path = pg_temp")
	{
		$id++;
		sql("INSERT INTO attacker.t VALUES ($id, 'x')");
		my $session = session('attacker');
		$session->send("$setting; CALL mixpeek.sync()");
		$session->wait;
	}
	wait_for_states('attacker.t', 'mirrored');
	pass('all rows are mirrored');
	isnt(refusal('attacker', $_), '', "refused: " . s{\s+}{ }gr) foreach 'BEGIN; CALL mixpeek.sync()',
		'DO $$ BEGIN BEGIN CALL mixpeek.sync(); EXCEPTION WHEN no_data_found THEN NULL; END; END $$';
	refusal('attacker', 'DO $$ BEGIN CALL mixpeek.sync(); END $$');
	refusal('attacker', 'CREATE PROCEDURE attacker.p() LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN CALL mixpeek.sync(); END $$; CALL attacker.p()');
};

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
		CREATE TYPE attacker.text AS ENUM ('forged'); CREATE TYPE attacker.jsonb AS (x int);
			CREATE TABLE attacker.documents (relation int); CREATE TABLE attacker.outbox (relation int);
		CREATE TABLE attacker.pg_class (oid oid, relname name);
		CREATE TABLE attacker.t (id int PRIMARY KEY, v pg_catalog.text, doc_id pg_catalog.text,
			enrichments pg_catalog.jsonb);
		ALTER ROLE attacker SET search_path = attacker, pg_catalog});
	sql('ALTER DATABASE postgres SET search_path = attacker, pg_catalog');
	sql_as('attacker', q{
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', document_id_column => 'doc_id',
			enrichments_column => 'enrichments');
		INSERT INTO attacker.t VALUES (1, 'one'), (2, 'two')});
	wait_for_states('attacker.t', 'mirrored');
	is(join(' ', map { documents('attacker', 't')->{$_}{v} } 1, 2), 'one two', 'the documents are those of the rows');
	is(sql('SELECT count(DISTINCT doc_id) FROM attacker.t'), 2, 'the ids that are written back are those of the rows');
	sql('ALTER DATABASE postgres RESET ALL; ALTER ROLE attacker RESET ALL');
};

# A worker that is ended waits a little longer each time, so settings come together.
my %settings = (
	'of rights' => [ "role = 'nobody'", "session_authorization = 'nobody'", "search_path = 'public'",
		'row_security = off', "local_preload_libraries = 'nothing'", 'session_replication_role = replica',
		'mixpeek.allow_http = on' ],
	'of time' => [ 'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1',
		'idle_session_timeout = 1', 'deadlock_timeout = 1', 'transaction_timeout = 1' ],
	'of transactions and errors' => [ "default_transaction_isolation = 'serializable'",
		'default_transaction_read_only = on', 'default_transaction_deferrable = on', 'exit_on_error = on',
		'synchronous_commit = off' ],
	'of texts and plans' => [ 'standard_conforming_strings = off', "client_encoding = 'LATIN1'",
		"timezone = 'Asia/Tokyo'", "datestyle = 'German'", "bytea_output = 'escape'", 'quote_all_identifiers = on',
		'jit_above_cost = 0', 'work_mem = 64', 'enable_indexscan = off',
		'max_parallel_workers = 0', "default_tablespace = ''", "temp_tablespaces = ''",
		"default_table_access_method = 'heap'", "plan_cache_mode = force_custom_plan", 'debug_print_plan = on' ]);
foreach my $name (sort keys %settings)
{
	attack "settings $name of the database, made by its owner, and a new worker", worker => 'any',
		gains => qr/settings of roles and databases: \(/, sub {
		my $owner = session('db_owner');
		my @refused = grep { $owner->refusal("ALTER DATABASE postgres SET $_") } @{ $settings{$name} };
		my $pid = worker_pid();
		sql("SELECT pg_terminate_backend($pid)");
		wait_for('another worker', sub { my $new = worker_pid(); $new && $new ne $pid });
		pass('a new worker comes; refused: ' . join(', ', @refused));
	};
}

attack 'rows and keys that are too large' => sub {
	sql_as('attacker', q{CREATE TABLE attacker.t (k text PRIMARY KEY, v text);
		ALTER TABLE attacker.t DROP CONSTRAINT t_pkey; ALTER TABLE attacker.t ADD COLUMN id serial;
			CREATE UNIQUE INDEX u ON attacker.t (id); ALTER TABLE attacker.t REPLICA IDENTITY USING INDEX u;
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker');
		INSERT INTO attacker.t VALUES ('large', repeat('x', 100000000)), ('small', 'x')});
	wait_for_states('attacker.t', 'failed,mirrored');
	like(join(' ', map { $_->{last_error} // () } values %{ records('attacker.t', 'failed') }),
		qr/too large|larger|more than|longer than mixpeek.read_timeout/, 'a row of 100 MB fails, with the reason');
	sql_as('attacker', q{CREATE TABLE attacker.keys (k text COLLATE "C" PRIMARY KEY);
		SELECT mixpeek.mirror('attacker.keys', 'keys', server => 'attacker');
		INSERT INTO attacker.keys VALUES (repeat('k', 200000)), (repeat('l', 5000)), ('m')});
	wait_for_states('attacker.keys', 'failed,mirrored');
	pass('keys of 200,000 and 5,000 bytes fail, a short one is mirrored');
};

attacks_end();
