# The processes that run owners' code: whose rights they have, how many there are, and what limits them.
use strict;
use warnings;
use MixpeekTest::Attack;
use Test::More;
use Time::HiRes qw(time);

attack_cluster(conf => "mixpeek.read_timeout = 500ms\nmixpeek.max_attempts = 3\nmax_worker_processes = 16");

# A mirrored table whose rows are read through a function, which does WHAT when an agent runs it.
sub table_with_code
{
	my ($owner, $name, $what, %options) = @_;
	my $schema = $options{schema} // $owner;

	sql_as($owner, qq{
		CREATE FUNCTION $schema.${name}_code(id int) RETURNS boolean LANGUAGE plpgsql AS \$\$
		BEGIN
			IF session_user <> current_user OR pg_catalog.current_setting('application_name') <> '' THEN RETURN true;
				END IF;
			$what
			RETURN true;
		END \$\$;
		CREATE TABLE $schema.$name (id int PRIMARY KEY, v text DEFAULT 'v', doc_id text);
		ALTER TABLE $schema.$name ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON $schema.$name USING ($schema.${name}_code(id)) WITH CHECK (true);
		SELECT mixpeek.mirror('$schema.$name', '$name', server => '$owner', backfill => false)});
	return;
}

# A test of a function that counts its runs in a sequence: the pauses between them grow.
sub pauses_grow
{
	my ($sequence) = @_;
	my @at;

	foreach my $n (2, 3, 4)
	{
		wait_for("run $n", sub { sql("SELECT last_value FROM attacker.$sequence") >= $n });
		push @at, time;
	}
	cmp_ok($at[2] - $at[1], '>', $at[1] - $at[0], 'the second pause is longer than the first one');
	return;
}

sub agents { return sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs agent'"); }

attack 'an owner without LOGIN and without CONNECT is served, in her own name',
	gains => qr/^(gone|new): databases: \(postgres,/ => sub {
	table_with_code('attacker', 'who', "INSERT INTO attacker.seen VALUES (current_user, session_user,
		pg_catalog.current_setting('is_superuser'));");
	sql_as('attacker', 'CREATE TABLE attacker.seen (who name, session name, super text)');
	sql('ALTER ROLE attacker NOLOGIN; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
	sql('INSERT INTO attacker.who VALUES (1)');
	eval { wait_for_states('attacker.who', 'mirrored') };
	is($@, '', 'the row is mirrored');
	is(sql('SELECT DISTINCT who, session, super FROM attacker.seen'), 'attacker|attacker|off',
		'current_user and session_user are the owner');
	sql('ALTER ROLE attacker LOGIN; GRANT CONNECT ON DATABASE postgres TO PUBLIC');
};

attack "pg_stat_activity shows an agent under its owner's name" => sub {
	table_with_code('attacker', 'slow', 'PERFORM pg_catalog.pg_sleep(0.3);');
	sql_as('attacker', 'INSERT INTO attacker.slow VALUES (1)');
	wait_for('the agent', sub {
		sql("SELECT usename FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs agent' AND state = 'active'
			AND usename = 'attacker'");
	});
	wait_for_states('attacker.slow', 'mirrored');
	pass("the agent is shown as attacker's");
};

attack 'six owners: one agent each, four in all, and each owner is served' => sub {
	my @owners = map { "crowd_$_" } 1 .. 6;

	sql("CREATE ROLE $_ LOGIN; CREATE SCHEMA $_ AUTHORIZATION $_; GRANT USAGE ON FOREIGN SERVER attacker TO $_;
		CREATE USER MAPPING FOR $_ SERVER attacker OPTIONS (api_key 'sk_secret_attacker')") foreach @owners;
	foreach my $owner (@owners)
	{
		sql(qq{
			SET ROLE $owner;
			CREATE FUNCTION $owner.code(int) RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN
				PERFORM pg_catalog.pg_sleep(0.02); RETURN true; END \$\$;
			CREATE TABLE $owner.t (id int PRIMARY KEY);
			ALTER TABLE $owner.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
			CREATE POLICY p ON $owner.t USING ($owner.code(id)) WITH CHECK (true);
			SELECT mixpeek.mirror('$owner.t', '$owner', server => 'attacker', backfill => false);
			RESET ROLE});
	}
	sql(join(';', map { "INSERT INTO $_.t SELECT generate_series(1, 10)" } @owners));
	my ($most, $most_of_one) = (0, 0);
	wait_for('all of them', sub {
		my ($n, $one) = split(/\|/, sql("SELECT count(*), coalesce(max(n) FILTER (WHERE usename LIKE 'crowd%'), 0)
			FROM (
			SELECT usename, count(*) OVER (PARTITION BY usename) n FROM pg_stat_activity
				WHERE backend_type = 'mixpeek_docs agent') a"));
		$most = $n if $n > $most;
		$most_of_one = $one if $one > $most_of_one;
		return sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'mirrored'
			AND collection LIKE 'crowd%'") == 60;
	});
	cmp_ok($most, '<=', 4, 'there were never more than four agents');
	cmp_ok($most_of_one, '<=', 1, 'there were never two agents of one owner');
	sql("DROP OWNED BY $_ CASCADE; DROP ROLE $_") foreach @owners;
};

attack 'owners whose requests take long, but not too long, leave agents to others' => sub {
	my @owners = map { "crowd_$_" } 1 .. 6;

	sql($_) foreach ("ALTER SYSTEM SET mixpeek.read_timeout = '3s'", 'SELECT pg_reload_conf()');
	sql(qq{
		CREATE ROLE $_ LOGIN; CREATE SCHEMA $_ AUTHORIZATION $_; GRANT USAGE ON FOREIGN SERVER attacker TO $_;
		CREATE USER MAPPING FOR $_ SERVER attacker OPTIONS (api_key 'sk_secret_attacker');
		SET ROLE $_;
		CREATE FUNCTION $_.slow() RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_catalog.pg_sleep(2);
			RETURN true; END \$\$;
		CREATE TABLE $_.t (id int PRIMARY KEY);
		ALTER TABLE $_.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON $_.t USING ((SELECT $_.slow())) WITH CHECK (true);
		SELECT mixpeek.mirror('$_.t', '$_', server => 'attacker', backfill => false);
		INSERT INTO $_.t SELECT generate_series(1, 10000);
		RESET ROLE}) foreach @owners;
	wait_for('their first requests to end', sub {
		sql("SELECT count(DISTINCT collection) FROM mixpeek.documents WHERE collection LIKE 'crowd%'") >= 5;
	});
	wait_for('half of the agents to be left to others', sub {
		return sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs agent'
			AND usename LIKE 'crowd%'") <= 2;
	});
	sql_as('owner_a', "INSERT INTO owner_a.wb VALUES (901, 'beside')");
	wait_for('her row', sub { sql("SELECT doc_id IS NOT NULL FROM owner_a.wb WHERE id = 901") eq 't' });
	pass('owner_a is served beside them');
	sql($_) foreach ('ALTER SYSTEM RESET mixpeek.read_timeout', 'SELECT pg_reload_conf()');
	sql("DROP OWNED BY $_ CASCADE; DROP ROLE $_") foreach @owners;
};

attack 'an agent that has nothing to do ends' => sub {
	table_with_code('attacker', 'idle', 'NULL;');
	sql_as('attacker', 'INSERT INTO attacker.idle VALUES (1)');
	wait_for_states('attacker.idle', 'mirrored');
	wait_for('the agents to end', sub { agents() == 0 });
	sql_as('attacker', 'INSERT INTO attacker.idle VALUES (2)');
	wait_for_states('attacker.idle', 'mirrored');
	pass('an agent comes again when it is needed');
};

my %endless = (
	'sleeps' => 'PERFORM pg_catalog.pg_sleep(100000);',
	'loops' => 'LOOP NULL; END LOOP;',
	'catches the cancel and goes on' => 'LOOP BEGIN PERFORM pg_catalog.pg_sleep(100000); EXCEPTION WHEN query_canceled
		THEN NULL; END; END LOOP;',
	'makes errors final' => "PERFORM pg_catalog.set_config('exit_on_error', 'on', false); RAISE EXCEPTION 'x';",
	'lifts the statement timeout' => "PERFORM pg_catalog.set_config('statement_timeout', '0', false),
		pg_catalog.pg_sleep(100000);");

foreach my $name (sort keys %endless)
{
	attack "a function that $name harms no other row" => sub {
		table_with_code('attacker', 'bad', "IF id <= 2 THEN $endless{$name} END IF;");
		sql_as('attacker', 'INSERT INTO attacker.bad SELECT generate_series(1, 5)');
		wait_for('the good rows', sub {
			return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'attacker.bad'::regclass
				AND key IN ('3', '4', '5') AND state = 'mirrored'") == 3;
		}) if $name !~ /catches|errors/;	# these end the process, and its owner rests
		wait_for('a bad one to fail', sub {
			return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'attacker.bad'::regclass
				AND state = 'failed' AND last_error <> ''") > 0;
		});
		pass('the bad row fails, with an error');
	};
}

attack '300 rows that take long, each within its time, are all read' => sub {
	table_with_code('attacker', 'honest', 'PERFORM pg_catalog.pg_sleep(0.02);');
	sql_as('attacker', 'INSERT INTO attacker.honest SELECT generate_series(1, 300)');
	my $records = wait_for_states('attacker.honest', 'mirrored');
	is(scalar(keys %$records), 300, 'all 300 rows are mirrored');
};

attack 'an owner whose functions do not end is tried less and less often' => sub {
	sql_as('attacker', 'CREATE SEQUENCE attacker.tries');
	table_with_code('attacker', 'endless', "PERFORM pg_catalog.nextval('attacker.tries');
		LOOP BEGIN PERFORM pg_catalog.pg_sleep(100000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;");
	sql_as('attacker', 'INSERT INTO attacker.endless SELECT generate_series(1, 100)');
	pauses_grow('tries');
};

attack 'a function that takes memory without end' => sub {
	table_with_code('attacker', 'fat', "PERFORM pg_catalog.array_agg(pg_catalog.repeat('x', 100000) || g)
		FROM pg_catalog.generate_series(1, 100000) g;");
	sql_as('attacker', 'INSERT INTO attacker.fat VALUES (1)');
	my $most = 0;
	wait_for('the row to fail', sub {
		foreach my $pid (agent_pids('attacker'))
		{
			my ($kb) = (eval { PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") }
				// '') =~ /^RssAnon:\s+(\d+) kB/m;
			$most = $kb / 1024 if $kb && $kb / 1024 > $most;
		}
		return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'attacker.fat'::regclass
			AND state = 'failed'");
	});
	cmp_ok($most, '<', 320, 'the agent stays within its limit of memory');
	like(records('attacker.fat')->{1}{last_error}, qr/out of memory|longer than/, 'last_error says why');
};

my %back = (
	'SET SESSION AUTHORIZATION' => "SET SESSION AUTHORIZATION superuser",
	'RESET SESSION AUTHORIZATION' => 'RESET SESSION AUTHORIZATION',
	'SET ROLE' => 'SET ROLE superuser',
	'RESET ROLE' => 'RESET ROLE',
	'RESET ALL' => 'RESET ALL',
	'DISCARD ALL' => 'DISCARD ALL',
	'parallel workers' => "SET max_parallel_workers = 8",
	'set_config' => "SELECT pg_catalog.set_config('session_authorization', 'default', false)");

foreach my $name (sort keys %back)
{
	attack "an agent cannot become the role it was started as: $name" => sub {
		my $root = sql('SELECT quote_ident(current_user)');
		my $statement = $back{$name} =~ s/superuser/$root/r;

		sql_as('attacker', 'CREATE TABLE attacker.said (what text, who name, session name)');
		table_with_code('attacker', 'back', qq{
			BEGIN EXECUTE '@{[ $statement =~ s/'/''/gr ]}';
			EXCEPTION WHEN OTHERS THEN INSERT INTO attacker.said VALUES (sqlerrm); END;
			INSERT INTO attacker.said VALUES ('then', current_user, session_user);});
		sql_as('attacker', 'INSERT INTO attacker.back VALUES (1)');
		wait_for_states('attacker.back', 'mirrored');
		is(sql("SELECT DISTINCT who, session FROM attacker.said WHERE what = 'then'"), 'attacker|attacker',
			'current_user and session_user still are attacker');
		is(sql("SELECT count(*) FROM pg_roles WHERE rolname = 'attacker' AND rolsuper"), 0, 'attacker is no superuser');
	};
}

attack 'what is deferred to the end of a write-back runs as the owner' => sub {
	sql_as('attacker', q{
		CREATE TABLE attacker.said (what text, who name, session name);
		CREATE TABLE attacker.wb (id int PRIMARY KEY, doc_id text);
		CREATE FUNCTION attacker.at_end() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF pg_catalog.current_setting('application_name') = '' THEN
				BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;
				BEGIN EXECUTE 'ALTER ROLE attacker SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
				INSERT INTO attacker.said VALUES (tg_name, current_user, session_user);
			END IF;
			RETURN NULL;
		END $$;
		CREATE FUNCTION attacker.defer() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF pg_catalog.current_setting('application_name') = '' THEN SET CONSTRAINTS ALL DEFERRED; END IF;
			RETURN new;
		END $$;
		CREATE CONSTRAINT TRIGGER at_end AFTER UPDATE ON attacker.wb DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
			EXECUTE FUNCTION attacker.at_end();
		SELECT mixpeek.mirror('attacker.wb', 'wb', server => 'attacker', document_id_column => 'doc_id');
		INSERT INTO attacker.wb VALUES (1)});
	wait_for('the write-back', sub { sql('SELECT count(*) FROM attacker.wb WHERE doc_id IS NOT NULL') == 1 });
	is(sql('SELECT DISTINCT what, who, session FROM attacker.said'), 'at_end|attacker|attacker',
		'a deferred trigger runs as the owner');
	sql_as('attacker', 'CREATE TRIGGER defer BEFORE UPDATE ON attacker.wb FOR EACH ROW
		EXECUTE FUNCTION attacker.defer(); INSERT INTO attacker.wb VALUES (2)');
	wait_for_states('attacker.wb', 'mirrored');
	is(sql('SELECT DISTINCT what, who, session FROM attacker.said'), 'at_end|attacker|attacker',
		'a trigger deferred by SET CONSTRAINTS runs as the owner');
};

attack 'an agent that is terminated while it reads loses no row' => sub {
	table_with_code('attacker', 'killed', 'PERFORM pg_catalog.pg_sleep(0.4);');
	sql_as('attacker', 'INSERT INTO attacker.killed VALUES (1)');
	wait_for('it to read', sub {
		sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs agent'
			AND usename = 'attacker' AND state = 'active'");
	});
	sql_as('attacker', 'UPDATE attacker.killed SET v = \'w\'; SELECT mixpeek.retry(\'attacker.killed\')');
	wait_for('the row', sub {
		sql_as('attacker', 'SELECT mixpeek.retry(\'attacker.killed\')');
		my $documents = documents('attacker', 'killed');
		%$documents && (values %$documents)[0]{v} eq 'w';
	});
	wait_for_states('attacker.killed', 'mirrored');
	is(scalar(keys %{ documents('attacker', 'killed') }), 1, 'there is one document');
};

attack "write-backs that wait for their owner's pause are made afterwards" => sub {
	table_with_code('attacker', 'resting', "$endless{'catches the cancel and goes on'}");
	sql_as('attacker', q{CREATE TABLE attacker.good (id int PRIMARY KEY, doc_id text, enrichments jsonb);
		SELECT mixpeek.mirror('attacker.good', 'good', server => 'attacker', document_id_column => 'doc_id',
			enrichments_column => 'enrichments');
		INSERT INTO attacker.resting VALUES (1)});
	wait_for('her to rest', sub {
		sql("SELECT attempts > 0 OR state = 'failed' FROM mixpeek.documents
			WHERE relation = 'attacker.resting'::regclass") eq 't';
	});
	sql_as('attacker', 'DROP TABLE attacker.resting; INSERT INTO attacker.good SELECT generate_series(1, 20)');
	wait_for_states('attacker.good', 'mirrored');
	wait_for('the write-backs', sub {
		sql('SELECT count(*) FROM attacker.good WHERE doc_id IS NULL OR enrichments IS NULL') == 0;
	});
	wait_for('nothing to be said of them any more', sub {
		sql("SELECT count(last_error) FROM mixpeek.documents WHERE relation = 'attacker.good'::regclass") == 0;
	});
	pass('all rows are written back');
};

attack 'write-backs that a trigger fails at first are made later' => sub {
	sql_as('attacker', q{CREATE TABLE attacker.fails (id int PRIMARY KEY, doc_id text, enrichments jsonb);
		CREATE TABLE attacker.switch (on_ boolean);
		CREATE FUNCTION attacker.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT
			FROM attacker.switch) THEN RETURN new; END IF; RAISE EXCEPTION 'not yet'; END $$;
		CREATE TRIGGER f BEFORE UPDATE ON attacker.fails FOR EACH ROW EXECUTE FUNCTION attacker.fail();
		SELECT mixpeek.mirror('attacker.fails', 'fails', server => 'attacker', document_id_column => 'doc_id',
			enrichments_column => 'enrichments');
		INSERT INTO attacker.fails VALUES (1)});
	wait_for_states('attacker.fails', 'mirrored');
	like(records('attacker.fails')->{1}{last_error}, qr/not yet/, "last_error has the trigger's message");
	sql_as('attacker', 'INSERT INTO attacker.switch VALUES (true)');
	wait_for('the write-back', sub {
		sql('SELECT count(*) FROM attacker.fails WHERE doc_id IS NOT NULL AND enrichments IS NOT NULL') == 1;
	});
	pass('the row is written back');
};

attack 'a trigger that suppresses write-backs is run less and less often' => sub {
	sql_as('attacker', q{CREATE SEQUENCE attacker.asked; CREATE TABLE attacker.kept (id int PRIMARY KEY, doc_id text);
		CREATE FUNCTION attacker.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_catalog.nextval('attacker.asked'); RETURN NULL; END $$;
		CREATE TRIGGER k BEFORE UPDATE ON attacker.kept FOR EACH ROW EXECUTE FUNCTION attacker.keep();
		SELECT mixpeek.mirror('attacker.kept', 'kept', server => 'attacker', document_id_column => 'doc_id');
		INSERT INTO attacker.kept VALUES (1)});
	wait_for_states('attacker.kept', 'mirrored');
	like(records('attacker.kept')->{1}{last_error}, qr/a trigger of the table has left the row as it was/,
		'last_error says that a trigger left the row as it was');
	pauses_grow('asked');
};

attack 'a table that is altered while it is read is read again' => sub {
	table_with_code('attacker', 'changing', 'PERFORM pg_catalog.pg_sleep(0.2);');
	sql_as('attacker', 'INSERT INTO attacker.changing VALUES (1)');
	wait_for('it to be read', sub {
		sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs agent' AND usename = 'attacker'
			AND state = 'active'");
	});
	sql_as('attacker', 'ALTER TABLE attacker.changing ADD COLUMN later int DEFAULT 7');
	wait_for_states('attacker.changing', 'mirrored');
	sql_as('attacker', "UPDATE attacker.changing SET v = 'w'");
	wait_for_states('attacker.changing', 'mirrored');
	is((values %{ documents('attacker', 'changing') })[0]{later}, 7, 'the document has the new column');
};

attack 'rows changed while they are read are not lost' => sub {
	table_with_code('attacker', 'racing', 'PERFORM pg_catalog.pg_sleep(0.01);');
	sql_as('attacker', 'INSERT INTO attacker.racing SELECT generate_series(1, 20)');
	sql_as('attacker', "UPDATE attacker.racing SET v = 'v$_'") foreach 1 .. 10;
	sql_as('attacker', 'DELETE FROM attacker.racing WHERE id > 10');
	wait_for_states('attacker.racing', 'mirrored');
	my $documents = documents('attacker', 'racing');
	is(join(' ', map { $_->{v} } values %$documents), join(' ', ('v10') x 10), 'the documents equal the rows');
};

attacks_end();
