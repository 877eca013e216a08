# What the code of a table's owner leaves behind in its process, or does to its own table; owners of every kind; and
# many owners. See Trap.pm.
use strict;
use warnings;
use MixpeekTest::Attack;
use MixpeekTest::Trap;
use Test::More;

attack_cluster();

# What is left behind

my %behind = (
	'a search path' => q{PERFORM pg_catalog.set_config('search_path', 'attacker', false),
		pg_catalog.set_config('search_path', 'attacker, pg_catalog', true);},
	'settings of transactions' => q{PERFORM pg_catalog.set_config('default_transaction_read_only', 'on', false),
		pg_catalog.set_config('default_transaction_isolation', 'serializable', false),
		pg_catalog.set_config('default_transaction_deferrable', 'on', false);},
	'a transaction that is read only' => q{SET transaction_read_only = on;},
	'settings of texts' => q{PERFORM pg_catalog.set_config('datestyle', 'German', false),
		pg_catalog.set_config('intervalstyle', 'sql_standard', false), pg_catalog.set_config('timezone', 'Asia/Tokyo',
		false),
		pg_catalog.set_config('extra_float_digits', '-15', false), pg_catalog.set_config('bytea_output', 'escape',
		false), pg_catalog.set_config('xmloption', 'document', false),
		pg_catalog.set_config('standard_conforming_strings', 'off', false),
			pg_catalog.set_config('quote_all_identifiers', 'on', false), pg_catalog.set_config('client_encoding',
			'LATIN1', false),
		pg_catalog.set_config('array_nulls', 'off', false), pg_catalog.set_config('lc_numeric', 'C', false);},
	'RESET ALL' => q{RESET ALL;},
	'RESET SESSION AUTHORIZATION' => q{BEGIN RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;},
	'row_security' => q{SET row_security = off;},
	'plans' => q{SET enable_seqscan = on; SET enable_indexscan = off; SET enable_bitmapscan = off; SET jit = on;
		SET jit_above_cost = 0; SET plan_cache_mode = force_custom_plan; SET constraint_exclusion = on;},
	'debug_print_plan' => q{SET debug_print_plan = on; SET debug_print_parse = on; SET debug_print_rewritten = on;
		SET client_min_messages = debug5;},
	'session_user\'s role by SET CONSTRAINTS' => q{SET CONSTRAINTS ALL DEFERRED; SET CONSTRAINTS ALL IMMEDIATE;},
	'a cursor with hold' => q{BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT pg_catalog.pg_sleep(1000)';
		EXCEPTION WHEN OTHERS THEN NULL; END;},
	'a cursor that is open' => q{kept := 'kept'; BEGIN OPEN kept FOR SELECT pg_catalog.generate_series(1, 1000);
		FETCH kept INTO number; EXCEPTION WHEN OTHERS THEN NULL; END;},
	'a prepared statement' => q{BEGIN EXECUTE 'PREPARE kept AS SELECT 1'; EXCEPTION WHEN OTHERS THEN NULL; END;},
	'a prepared transaction' => q{BEGIN EXECUTE 'PREPARE TRANSACTION ''kept'''; EXCEPTION WHEN OTHERS THEN NULL; END;},
	'temporary objects' => q{BEGIN EXECUTE 'CREATE TEMP TABLE t (id int, v text)'; EXCEPTION WHEN OTHERS THEN NULL;
		END; BEGIN
		EXECUTE 'CREATE FUNCTION pg_temp.jsonb_build_object() RETURNS jsonb LANGUAGE sql AS ''SELECT NULL::jsonb''';
			EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'CREATE TEMP VIEW pg_class AS SELECT 1 AS oid'; EXCEPTION WHEN OTHERS THEN NULL; END;},
	'LISTEN' => q{BEGIN EXECUTE 'LISTEN attacker'; EXCEPTION WHEN OTHERS THEN NULL; END;
		PERFORM pg_catalog.pg_notify('attacker', g::text || pg_catalog.repeat('x', 7000))
			FROM pg_catalog.generate_series(1, 100) g;},
	'DISCARD ALL' => q{BEGIN EXECUTE 'DISCARD ALL'; EXCEPTION WHEN OTHERS THEN NULL; END; BEGIN
		EXECUTE 'DISCARD PLANS'; EXCEPTION WHEN OTHERS THEN NULL; END; BEGIN EXECUTE 'DEALLOCATE ALL'; EXCEPTION
			WHEN OTHERS THEN NULL; END;},
	'COMMIT and ROLLBACK' => q{BEGIN COMMIT; EXCEPTION WHEN OTHERS THEN NULL; END; BEGIN ROLLBACK; EXCEPTION
		WHEN OTHERS THEN NULL; END; BEGIN EXECUTE 'COMMIT'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'SAVEPOINT x'; EXCEPTION WHEN OTHERS THEN NULL; END;},
	'a seed, a sequence and a custom setting' => q{PERFORM pg_catalog.setseed(0.5),
		pg_catalog.set_config('mixpeek_x.y', 'z', false), pg_catalog.set_config('attacker.x', pg_catalog.repeat('x',
		1000000), false);},
	'settings of ours' => q{BEGIN SET mixpeek.read_timeout = '1d'; EXCEPTION WHEN OTHERS THEN NULL; END; BEGIN
		SET mixpeek.max_attempts = 1; EXCEPTION WHEN OTHERS THEN NULL; END; BEGIN SET mixpeek.nonsense = 1; EXCEPTION
			WHEN OTHERS THEN NULL; END;},
	'synchronous_commit' => q{SET synchronous_commit = off; SET commit_delay = 0; SET wal_compression = off;});
foreach my $name (sort grep { $_ !~ /wal_comp/ } keys %behind)
{
	my $body = $behind{$name} =~ s/ SET commit_delay = 0; SET wal_compression = off;//r;
	trap("a function that leaves behind: $name", $_, $body, declare => 'DECLARE kept refcursor; number int;',
		expect => 'mirrored', then => sub {
		# A row that the same process reads afterwards is rendered as always.
		sql_as('attacker', q{CREATE TABLE attacker.later (id int PRIMARY KEY, at timestamptz, f float8, b bytea,
			i interval);
			ALTER TABLE attacker.later ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
				CREATE POLICY p ON attacker.later USING (attacker.inside() IS NOT NULL);
			INSERT INTO attacker.later VALUES (1, '2026-01-02 03:04:05+00', 1.1, '\x00ff', '1 day 2 hours');
			SELECT mixpeek.mirror('attacker.later', 'later', server => 'attacker')});
		wait_for_states('attacker.later', 'mirrored');
		my $metadata = documents('attacker', 'later')->{1};
		is_deeply([ @$metadata{qw(f b i)} ], [ 1.1, '\x00ff', '1 day 02:00:00' ],
			'numbers, bytes and intervals are rendered as always');
		like($metadata->{at}, qr/^2026-01-02T03:04:05/, 'times are rendered as always') }) foreach qw(policy before);
}

# What the code does to its own table while that is read

my %own = (
	'drops its table' => [ 'DROP TABLE attacker.t;', undef ],
	'drops its own function' => [ 'BEGIN DROP FUNCTION attacker.trap() CASCADE; EXCEPTION WHEN OTHERS THEN NULL;
		END;', undef ],
	'drops its mirror' => [ q{PERFORM mixpeek.unmirror('attacker.t');}, undef ],
	'makes its mirror anew' => [ q{PERFORM mixpeek.mirror('attacker.t', 't', server => 'attacker');}, undef ],
	'truncates its table' => [ 'TRUNCATE attacker.t;', undef ],
	'alters a type' => [ 'ALTER TABLE attacker.t ALTER v TYPE int USING 4096;', undef ],
	'renames its table' => [ q{BEGIN ALTER TABLE attacker.t RENAME TO u; EXCEPTION WHEN undefined_table THEN NULL;
		END;}, undef ],
	'deletes the row' => [ 'DELETE FROM attacker.t WHERE true;', undef ],
	'updates the row' => [ q{UPDATE attacker.t SET v = v || '!' WHERE pg_catalog.length(v) < 5;}, undef ],
	'inserts a row each time' => [ q{INSERT INTO attacker.t SELECT pg_catalog.max(id) + 1, 'more' FROM attacker.t
		HAVING pg_catalog.max(id) < 50;}, undef ],
	'changes the owner\'s rights' => [ 'REVOKE ALL ON attacker.t FROM attacker;', undef ],
	'locks its table' => [ 'LOCK TABLE attacker.t IN ACCESS EXCLUSIVE MODE;', undef ],
	'reads its own documents' => [ q{PERFORM count(*) FROM mixpeek.documents; PERFORM count(*) FROM mixpeek.mirrors;
		PERFORM count(*) FROM mixpeek.outbox;}, 'mirrored' ],
	'calls the API' => [ q{BEGIN PERFORM mixpeek.list_documents('t', server => 'attacker'); EXCEPTION WHEN OTHERS
		THEN NULL; END;}, undef ],
	'waits for the mirror that waits for it' => [ q{BEGIN PERFORM mixpeek.wait('10s'); EXCEPTION
		WHEN feature_not_supported THEN NULL; END;}, undef ],
	'calls sync()' => [ q{BEGIN CALL mixpeek.sync(); EXCEPTION WHEN OTHERS THEN NULL; END;}, undef ],
	'retries, refreshes and previews' => [ q{PERFORM mixpeek.retry('attacker.t'), mixpeek.refresh('attacker.t'); BEGIN
		PERFORM mixpeek.preview('attacker.t', '1'); EXCEPTION WHEN OTHERS THEN NULL; END;}, undef ]);
foreach my $name (sort keys %own)
{
	my ($body, $expect) = @{ $own{$name} };
	trap("a function that $name", $_, $body, $expect ? (expect => $expect) : ()) foreach qw(policy before);
}
trap('a function that returns nothing', 'policy', 'RETURN NULL;', expect => '|failed|mirrored', mirror => '');
trap('a trigger that suppresses the change', 'before', 'RETURN NULL;', expect => 'mirrored');
trap('a trigger that changes the key', 'before', 'new.id := old.id + 1000;');
trap('a trigger that changes the row each time', 'before', 'new.v := pg_catalog.random()::text;', expect => 'mirrored');
trap('a trigger that sets the id to null', 'before', 'new.doc_id := NULL; new.enrichments := NULL;',
	expect => 'mirrored');
trap('a trigger that makes a row of 50 MB', 'before', q{new.v := pg_catalog.repeat('x', 50000000);});

# Functions with settings and rights of their own

foreach my $setting ('role = owner_a', "session_authorization = owner_a", "statement_timeout = 0",
	"row_security = off", "search_path = attacker, pg_catalog", "default_transaction_read_only = on",
	"exit_on_error = on", "mixpeek.read_timeout = '1d'", "work_mem = '2000GB'")
{
	attack "a policy's function with SET $setting" => sub {
		my $refusal = refusal('attacker', qq{CREATE FUNCTION attacker.configured() RETURNS boolean LANGUAGE plpgsql
			SET $setting AS \$\$ BEGIN RETURN true; END \$\$});
		return pass("CREATE FUNCTION is refused: $refusal") if $refusal;
		sql_as('attacker', q{
			CREATE TABLE attacker.t (id int PRIMARY KEY);
			ALTER TABLE attacker.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON attacker.t
				USING (attacker.configured());
			SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker')});
		refusal('superuser', 'INSERT INTO attacker.t VALUES (1)');
		wait_for('its row to be settled', sub {
			keys %{ records('attacker.t', 'mirrored') } || keys %{ records('attacker.t', 'failed') }
		});
		pass('the row is settled');
	};
}

# Owners of every kind: all are served

my %owners = (
	'cannot log in' => 'ALTER ROLE attacker NOLOGIN',
	'has no connection left' => 'ALTER ROLE attacker CONNECTION LIMIT 0',
	'may not connect to the database' => 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC, attacker',
	'has a password that has expired' => "ALTER ROLE attacker PASSWORD 'x' VALID UNTIL '2000-01-01'",
	'inherits nothing' => 'ALTER ROLE attacker NOINHERIT',
	'has settings of time' => "ALTER ROLE attacker SET statement_timeout = 1; ALTER ROLE attacker
		SET lock_timeout = 1; ALTER ROLE attacker SET idle_session_timeout = 1",
	'reads only' => 'ALTER ROLE attacker SET default_transaction_read_only = on',
	'has another role by default' => 'GRANT reader TO attacker; ALTER ROLE attacker SET role = reader',
	'has an odd search path' => 'ALTER ROLE attacker SET search_path = attacker, pg_temp',
	'has settings of texts' => "ALTER ROLE attacker SET datestyle = 'German'; ALTER ROLE attacker
		SET timezone = 'Asia/Tokyo'; ALTER ROLE attacker SET bytea_output = 'escape'",
	'loads what is not there' => "ALTER ROLE attacker SET local_preload_libraries = 'nothing_of_that_name';
		ALTER ROLE attacker SET session_preload_libraries = 'neither'",
	'exits on errors' => 'ALTER ROLE attacker SET exit_on_error = on',
	'has plans of its own' => 'ALTER ROLE attacker SET enable_indexscan = off; ALTER ROLE attacker
		SET jit_above_cost = 0; ALTER ROLE attacker SET row_security = off');
foreach my $name (sort keys %owners)
{
	attack "an owner who $name", gains => qr/databases: \(postgres/, sub {
		sql_as('attacker', q{
			CREATE TABLE attacker.t (id int PRIMARY KEY, v text, doc_id text);
			ALTER TABLE attacker.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
			CREATE POLICY p ON attacker.t USING (attacker.inside() IS NOT NULL);
			SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', document_id_column => 'doc_id')});
		sql("BEGIN; $owners{$name}; INSERT INTO attacker.t VALUES (1, 'x'); COMMIT");
		wait_for_states('attacker.t', 'mirrored');
		wait_for('the write-back', sub { sql('SELECT doc_id IS NOT NULL FROM attacker.t') eq 't' });
		pass('the row is mirrored and written back');
		sql('GRANT CONNECT ON DATABASE postgres TO PUBLIC; REVOKE reader FROM attacker; ALTER ROLE attacker RESET ALL;
			ALTER ROLE attacker LOGIN INHERIT CONNECTION LIMIT -1 PASSWORD NULL');
	};
}

attack 'an owner whose name has quotes, dollars and backslashes' => sub {
	sql(q{CREATE ROLE "a ""role"" with 'quotes'; and ünïcode $$ \\\\ x" NOLOGIN});
	my $role = q{"a ""role"" with 'quotes'; and ünïcode $$ \\\\ x"};
	sql(qq{CREATE SCHEMA odd AUTHORIZATION $role; GRANT USAGE ON FOREIGN SERVER attacker TO $role;
		CREATE USER MAPPING FOR $role SERVER attacker OPTIONS (api_key 'sk_secret_attacker');
		SET ROLE $role;
		CREATE TABLE odd.t (id int PRIMARY KEY, doc_id text);
		SELECT mixpeek.mirror('odd.t', 'odd', server => 'attacker', document_id_column => 'doc_id');
		INSERT INTO odd.t VALUES (1); RESET ROLE});
	wait_for_states('odd.t', 'mirrored');
	wait_for('the write-back', sub { sql('SELECT doc_id IS NOT NULL FROM odd.t') eq 't' });
	pass('the row is mirrored and written back');
	sql("DROP SCHEMA odd CASCADE; DROP OWNED BY $role; DROP ROLE $role");
};

# Many, and from outside

attack 'forty owners whose functions sleep, and one whose functions do not' => sub {
	sql(join('', map { qq{
		CREATE ROLE crowd$_; GRANT USAGE ON FOREIGN SERVER attacker TO crowd$_;
			CREATE USER MAPPING FOR crowd$_ SERVER attacker OPTIONS (api_key 'sk_secret_attacker');
		CREATE SCHEMA crowd$_ AUTHORIZATION crowd$_; SET ROLE crowd$_;
		CREATE FUNCTION crowd$_.slow() RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN
			PERFORM pg_catalog.pg_sleep(1000); RETURN true; END \$\$;
		CREATE TABLE crowd$_.t (id int PRIMARY KEY); ALTER TABLE crowd$_.t ENABLE ROW LEVEL SECURITY,
			FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON crowd$_.t USING (crowd$_.slow()) WITH CHECK (true);
		SELECT mixpeek.mirror('crowd$_.t', 't$_', server => 'attacker', backfill => false);
		INSERT INTO crowd$_.t SELECT generate_series(1, 20); RESET ROLE;
	} } 1 .. 40));
	wait_for('some of them to be tried', sub {
		sql("SELECT count(*) FROM mixpeek.documents WHERE collection ~ '^t[0-9]' AND last_error IS NOT NULL") > 0;
	});
	my $id = 500;
	sql_as('owner_a', "INSERT INTO owner_a.wb VALUES ($id, 'between')");
	wait_for('owner_a to have her turn', sub {
		sql("SELECT doc_id IS NOT NULL FROM owner_a.wb WHERE id = $id") eq 't';
	});
	pass('a row of owner_a is written back');
	sql(join('', map { "DROP SCHEMA crowd$_ CASCADE; DROP OWNED BY crowd$_; DROP ROLE crowd$_;" } 1 .. 40));
};

attack 'six tables whose eight rows each sleep' => sub {
	sql_as('attacker', join(';', q{CREATE FUNCTION attacker.slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		IF attacker.inside() THEN PERFORM pg_catalog.pg_sleep(1000000); END IF; RETURN true; END $$},
		map { "CREATE TABLE attacker.s$_ (id int PRIMARY KEY); ALTER TABLE attacker.s$_ ENABLE ROW LEVEL SECURITY,
			FORCE ROW LEVEL SECURITY; CREATE POLICY p ON attacker.s$_ USING (attacker.slow());
			SELECT mixpeek.mirror('attacker.s$_', 's$_', server => 'attacker', backfill => false);
				INSERT INTO attacker.s$_ SELECT generate_series(1, 8)" } 1 .. 6));
	local $MixpeekTest::Attack::patience = 5 * $MixpeekTest::Attack::slow;
	foreach my $id (601 .. 605)
	{
		sql_as('owner_a', "INSERT INTO owner_a.t VALUES ($id, 'beside')");
		wait_for("row $id of owner_a", sub {
			sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'owner_a.t'::regclass AND key = '$id'
				AND state = 'mirrored'") == 1;
		});
	}
	pass("owner_a's rows are mirrored meanwhile");
};

attack "commits while an owner's function sleeps are seen" => sub {
	sql_as('attacker', trap_statements('policy', 'PERFORM pg_catalog.pg_sleep(0.3);', '', '', ''));
	sql_as('attacker', 'INSERT INTO attacker.t SELECT g FROM generate_series(1, 30) g');
	wait_for('the function to be run', sub { sql('SELECT is_called FROM attacker.ran') eq 't' });
	local $MixpeekTest::Attack::patience = 5 * $MixpeekTest::Attack::slow;
	foreach my $id (701 .. 710)
	{
		sql_as('owner_a', "INSERT INTO owner_a.t VALUES ($id, 'beside')");
		wait_for("row $id of owner_a", sub {
			sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'owner_a.t'::regclass AND key = '$id'
				AND state = 'mirrored'") == 1;
		});
	}
	is(sql(q{SELECT count(*) FROM mixpeek.outbox WHERE relation = 'owner_a.t'::regclass}), 0,
		'no entry of owner_a is left');
};

attack "attacker terminates each process of mixpeek's that she may" => sub {
	sql_as('attacker', trap_statements('policy', 'NULL;', '', '', ''));
	my $killer = session('attacker');
	$killer->send(q{DO $$ BEGIN FOR i IN 1 .. 300 LOOP
		PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'attacker'
			AND backend_type LIKE 'mixpeek%';
		PERFORM pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'attacker'
			AND backend_type LIKE 'mixpeek%';
		PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01); END LOOP; END $$});
	sql_as('attacker', 'INSERT INTO attacker.t SELECT g FROM generate_series(1, 200) g') foreach 1;
	foreach my $pid (mixpeek_processes())
	{
		my $whose = sql("SELECT coalesce(max(usename), '') FROM pg_stat_activity WHERE pid = $pid");
		next if $whose eq 'attacker' || $whose eq '';
		isnt(refusal('attacker', "SELECT pg_terminate_backend($pid)"), '',
			"attacker may not terminate another owner's process");
		isnt(refusal('db_owner', "SELECT pg_cancel_backend($pid)"), '',
			"db_owner may not cancel another owner's process");
	}
	$killer->wait;
	wait_for_states('attacker.t', 'mirrored');
	pass("attacker's rows are mirrored when she stops");
};

attack 'attacker takes every connection' => sub {
	my @sessions = map { session('attacker') } 1 .. 20;
	my $full = 0;
	for (1 .. 60)
	{
		eval { push @sessions, session('attacker'); 1 } or do { $full = 1; last };
	}
	ok($full, 'no connection is left');
	sql("INSERT INTO owner_a.t VALUES (801, 'full'); INSERT INTO owner_a.wb VALUES (801, 'full')");
	wait_for('owner_a to be served', sub { sql('SELECT doc_id IS NOT NULL FROM owner_a.wb WHERE id = 801') eq 't' });
	pass('a row of owner_a is written back');
};

attack 'attacker takes every lock', worker => 'any', sub {
	my $session = session('attacker');
	isnt($session->refusal('BEGIN; SELECT count(pg_advisory_xact_lock(g)) FROM generate_series(1, 10000000) g'), '',
		'there is no lock left');
	$session->do('ROLLBACK');
	$session->refusal('SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 10000000) g');
	refusal('owner_a', "INSERT INTO owner_a.t VALUES (901, 'no locks')");
	pass('an INSERT without locks has been tried');
};

attack 'attacker locks a mirrored table again and again' => sub {
	sql_as('attacker', trap_statements('before', 'NULL;', '', '', ''));
	my $locker = session('attacker');
	$locker->send(q{DO $$ BEGIN FOR i IN 1 .. 100 LOOP LOCK TABLE attacker.t IN ACCESS EXCLUSIVE MODE;
		PERFORM pg_sleep(0.02); COMMIT; END LOOP; END $$});
	sql_as('attacker', 'INSERT INTO attacker.t SELECT g FROM generate_series(1, 50) g');
	$locker->wait;
	wait_for_states('attacker.t', 'mirrored');
	pass("the table's rows are mirrored in the end");
};

attack 'rows are locked while they are to be written back' => sub {
	sql_as('attacker', trap_statements('before', 'NULL;', '', '', ''));
	api('attacker')->config(latency => 200);
	sql_as('attacker', 'INSERT INTO attacker.t SELECT g FROM generate_series(1, 5) g');
	my $locker = session('attacker');
	$locker->do('BEGIN; SELECT FROM attacker.t FOR UPDATE');
	wait_for_states('attacker.t', 'mirrored');
	$locker->do('COMMIT');
	wait_for('the write-back', sub { sql('SELECT count(*) FROM attacker.t WHERE doc_id IS NULL') == 0 });
	pass('the rows are written back when the locks are released');
};

attack 'columns and keys of user-defined types' => sub {
	sql_as('attacker', q{
		CREATE DOMAIN attacker.key AS text COLLATE "C" CHECK (value <> 'never' AND attacker.inside() IS NOT NULL);
		CREATE TYPE attacker.pair AS (a attacker.key, b int);
		CREATE TYPE attacker.span AS RANGE (subtype = float8, subtype_diff = float8mi);
		CREATE TYPE attacker.mood AS ENUM ('good', 'bad');
		CREATE TABLE attacker.t (k attacker.key, m attacker.mood, p attacker.pair, s attacker.span, a attacker.key[],
			PRIMARY KEY (k, m));
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker');
		INSERT INTO attacker.t SELECT 'k' || g, 'bad', ROW('x'::text, g)::attacker.pair, '[1,2)', '{x,y}'
			FROM generate_series(1, 20) g});
	wait_for_states('attacker.t', 'mirrored');
	sql_as('attacker', q{UPDATE attacker.t SET p = ROW('y'::text, 0)::attacker.pair; DELETE FROM attacker.t
		WHERE k = 'k1'});
	wait_for_states('attacker.t', 'mirrored');
	is(scalar(keys %{ documents('attacker', 't') }), 19, 'rows with user-defined types are mirrored');
	sql_as('attacker', q{ALTER DOMAIN attacker.key DROP CONSTRAINT key_check;
		ALTER DOMAIN attacker.key ADD CHECK (value <> 'k2') NOT VALID; UPDATE attacker.t SET s = '[3,4)';
			DROP TYPE attacker.span CASCADE});
	wait_for('the rows to be settled', sub { sql("SELECT count(*) FROM mixpeek.outbox
		WHERE relation = 'attacker.t'::regclass") == 0
		&& sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'attacker.t'::regclass
			AND state IN ('sending', 'pending')") == 0 });
	pass('the rows are settled after their types have changed');
};

attacks_end();
