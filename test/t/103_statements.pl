# Statements, reads, signals and calls of functions by roles that have no right to them.
use strict;
use warnings;
use MixpeekTest::Attack;
use Test::More;

attack_cluster();

# A test of a role's statements: each is refused, or, if it may change nothing, returns no row.
sub none_of
{
	my ($role, @statements) = @_;
	my @done;

	foreach my $statement (@statements)
	{
		my ($status, $out, $err) = MixpeekTest::Attack::run_as($role, "\\set ON_ERROR_STOP 1\n$statement");
		push @done, "$role: $statement: $out" if $status == 0 && $out ne '' || $status == 0
			&& $statement !~ /^(SELECT|UPDATE|DELETE|SET|GRANT)/i;
	}
	is(join("\n", @done), '', "$role: " . @statements . ' statements, each refused or without effect');
	return;
}

my @tables = qw(documents outbox origin forgotten);
my @on_tables = (
	(map { my $t = "mixpeek.$_"; (
		"DELETE FROM $t WHERE true RETURNING *", "TRUNCATE $t", "LOCK TABLE $t IN ACCESS EXCLUSIVE MODE",
		"LOCK TABLE $t IN ROW EXCLUSIVE MODE", "SELECT * FROM $t WHERE true FOR UPDATE",
		"SELECT * FROM $t FOR KEY SHARE", "ALTER TABLE $t DISABLE ROW LEVEL SECURITY", "ALTER TABLE $t ADD x int",
			"ALTER TABLE $t OWNER TO nobody", "ALTER TABLE $t SET (fillfactor = 10)",
		"CREATE INDEX ON $t (ctid)", "CREATE TRIGGER x BEFORE INSERT ON $t FOR EACH ROW
			EXECUTE FUNCTION suppress_redundant_updates_trigger()",
				"CREATE RULE x AS ON INSERT TO $t DO INSTEAD NOTHING",
		"CREATE POLICY x ON $t USING (true)", "COMMENT ON TABLE $t IS 'x'", "DROP TABLE $t CASCADE",
			"ALTER TABLE $t RENAME TO x", "CREATE STATISTICS mixpeek.x ON tableoid, ctid FROM $t",
		"REINDEX TABLE $t", "CLUSTER $t", "GRANT ALL ON $t TO PUBLIC") } @tables),
	"INSERT INTO mixpeek.outbox VALUES ('owner_a.t', 'U', 't', '1')",
		"INSERT INTO mixpeek.documents (relation, collection, key, state, server, marker) VALUES ('owner_a.t', 't',
			'1', 'mirrored', 'x', 'x')",
	"INSERT INTO mixpeek.origin (system_identifier, database, instance) VALUES (1, 1, 'x')",
		"INSERT INTO mixpeek.forgotten VALUES ('', '')",
	"UPDATE mixpeek.documents SET state = 'failed' RETURNING *",
		"UPDATE mixpeek.origin SET id = gen_random_uuid() RETURNING *",
	'CREATE TABLE mixpeek.x (a int)', 'CREATE FUNCTION mixpeek.may_read(regclass) RETURNS boolean
		LANGUAGE sql AS \'SELECT true\'',
			"CREATE OR REPLACE FUNCTION mixpeek.may_read(relation regclass) RETURNS boolean
				LANGUAGE sql AS 'SELECT true'",
	'CREATE VIEW mixpeek.x AS SELECT 1', 'ALTER SCHEMA mixpeek RENAME TO x', 'DROP SCHEMA mixpeek CASCADE',
		'ALTER EXTENSION mixpeek_docs SET SCHEMA public', 'DROP EXTENSION mixpeek_docs CASCADE',
		'ALTER EXTENSION mixpeek_docs UPDATE',
	'ALTER EXTENSION mixpeek_docs DROP TABLE mixpeek.documents',
		'CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION mixpeek.on_drop()',
		'ALTER EVENT TRIGGER mixpeek_on_drop DISABLE', 'DROP EVENT TRIGGER mixpeek_on_drop',
	'CREATE PUBLICATION x FOR TABLE mixpeek.documents', 'CREATE PUBLICATION y FOR ALL TABLES',
		'SELECT mixpeek.adopt()', 'SELECT mixpeek.adopt(true)',
	"SELECT mixpeek.mirror('owner_a.secret', 'x', server => 'owner_a')",
		"SELECT mixpeek.unmirror('owner_a.secret', delete_documents => true)",
		"SELECT mixpeek.preview('owner_a.secret', '1')",
	"SELECT mixpeek.retry('owner_a.secret')", "SELECT mixpeek.refresh('owner_a.secret')",
		'SELECT NULLIF(mixpeek.retry(), 0)',
	'SET mixpeek.enabled = off', "SET mixpeek.read_timeout = '1d'", "SET mixpeek.instance = 'x'",
		'SET mixpeek.allow_http = on', 'ALTER SYSTEM SET mixpeek.enabled = off',
		'ALTER DATABASE template1 SET mixpeek.enabled = off',
	"ALTER SERVER owner_a OPTIONS (SET namespace 'x')", 'DROP SERVER owner_a CASCADE',
		"CREATE USER MAPPING FOR PUBLIC SERVER owner_a OPTIONS (api_key 'x')",
		'GRANT USAGE ON FOREIGN SERVER owner_a TO PUBLIC',
	'DROP USER MAPPING FOR owner_a SERVER owner_a', 'CREATE SERVER x FOREIGN DATA WRAPPER mixpeek_docs',
		'ALTER FOREIGN DATA WRAPPER mixpeek_docs NO VALIDATOR', 'SELECT umoptions FROM pg_user_mapping',
		q{SELECT umoptions FROM pg_user_mappings WHERE umoptions::text <> '{api_key=sk_secret_' || current_user || '}'},
	q{SELECT option_value FROM information_schema.user_mapping_options
		WHERE option_value <> 'sk_secret_' || current_user},
			"SELECT mixpeek.list_documents('secret', server => 'owner_a')",
			"SELECT mixpeek.get_document('secret', 'x', server => 'owner_a')",
	"SELECT mixpeek.create_document('secret', server => 'owner_a')",
		"SELECT mixpeek.delete_document('secret', 'x', server => 'owner_a')",
		"SELECT mixpeek.update_document('secret', 'x', '{}', server => 'owner_a')");

attack "statements about the extension's objects and others' servers" => sub {
	none_of($_, @on_tables) foreach qw(nobody db_owner attacker);
};

attack 'reads of records of tables that a role may not read' => sub {
	sql_as('attacker', q{CREATE FUNCTION attacker.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
		BEGIN RAISE EXCEPTION 'leaked: %', $1; END $$;
		GRANT EXECUTE ON FUNCTION attacker.leak(text) TO PUBLIC});
	my @readings = (
		(map { ("SELECT * FROM mixpeek.$_", "SELECT * FROM mixpeek.$_ WHERE attacker.leak(key)",
			"SELECT * FROM mixpeek.$_ x WHERE attacker.leak(x::text)",
			"SELECT key FROM mixpeek.$_ WHERE 1 / (length(key) - 1) = 7",
			"SELECT key FROM mixpeek.$_ WHERE key::int = -7", "SELECT 1 FROM mixpeek.$_ HAVING count(*) > 0",
			"SELECT relation FROM mixpeek.$_ GROUP BY 1",
				"SELECT max(key) FROM mixpeek.$_ HAVING max(key) IS NOT NULL") } qw(documents taxonomies clusters)),
		'SELECT * FROM mixpeek.outbox', 'SELECT key FROM mixpeek.outbox WHERE attacker.leak(key)',
			'SELECT * FROM mixpeek.mirrors WHERE relation = \'owner_a.secret\'::regclass AND document IS NOT NULL',
		"SELECT most_common_vals FROM pg_stats WHERE schemaname = 'mixpeek'",
			"SELECT histogram_bounds FROM pg_stats WHERE schemaname IN ('mixpeek', 'owner_a')",
			'SELECT * FROM mixpeek.forgotten',
		"SELECT * FROM pg_statistic", "SELECT pg_get_viewdef('owner_a.secret')",
			"COPY (SELECT * FROM mixpeek.documents) TO STDOUT", "COPY mixpeek.documents TO STDOUT",
			"SELECT get_raw_page('mixpeek.documents', 0)",
		'SET row_security = off; SELECT * FROM mixpeek.documents',
			"SELECT 'x' FROM mixpeek.documents WHERE enrichments @> '{}'",
			"SELECT query_to_xml('TABLE mixpeek.documents', false, false, '')::text
				WHERE query_to_xml('SELECT key FROM mixpeek.documents', false, false, '')::text ~ 'key>'");
	sql('ANALYZE mixpeek.documents');
	foreach my $role (qw(nobody db_owner attacker))
	{
		foreach my $reading (@readings)
		{
			my (undef, $out, $err) = MixpeekTest::Attack::run_as($role, $reading);
			unlike($out . $err,
				qr/leaked|fresh|secret of|division by zero|invalid input syntax|sk_secret|\bwb\b|:owner_a\./,
				"no data of others is read: $role: " . $reading =~ s{\s+}{ }gr)
					if "$out$err" =~ /leaked|division by zero|invalid input syntax|secret of|sk_secret|:owner_a\./;
			is($out =~ s/^<table.*//rs, '', "no row is returned: $role: " . $reading =~ s{\s+}{ }gr)
				if $out ne '' && $reading !~ /mirrors|forgotten/;
		}
	}
	pass(scalar(@readings) . ' reads, each by three roles');
	# Tables of which a role may read one column, or some rows, and a view of another owner.
	sql_as('owner_a', q{CREATE TABLE owner_a.partly (id int PRIMARY KEY, hidden text); GRANT
		SELECT (id) ON owner_a.partly TO reader;
		CREATE TABLE owner_a.policed (id int PRIMARY KEY); ALTER TABLE owner_a.policed ENABLE ROW LEVEL SECURITY;
			CREATE POLICY p ON owner_a.policed USING (id < 2); GRANT SELECT ON owner_a.policed TO reader;
		INSERT INTO owner_a.partly VALUES (1, 'x'); INSERT INTO owner_a.policed VALUES (1), (2);
		SELECT mixpeek.mirror('owner_a.partly', 'partly', server => 'owner_a'), mixpeek.mirror('owner_a.policed',
			'policed', server => 'owner_a');
		CREATE VIEW owner_a.all_lines AS SELECT * FROM mixpeek.documents; GRANT
			SELECT ON owner_a.all_lines TO attacker});
	wait_for_states("owner_a.$_", 'mirrored') foreach qw(partly policed);
	is(sql_as('reader', "SELECT string_agg(DISTINCT relation::text, ' ') FROM mixpeek.documents"), 'owner_a.t',
		'reader sees the records of tables that she may read all of');
	is(sql_as('attacker', 'SELECT count(*) FROM owner_a.all_lines'), 0,
		"attacker sees no record through a view of owner_a's");
	sql('DROP TABLE owner_a.partly, owner_a.policed; DROP VIEW owner_a.all_lines');
};

attack 'signals, locks and calls of functions by roles without a right to them' => sub {
	sql('GRANT pg_signal_backend TO attacker') ;
	foreach my $pid (mixpeek_processes())
	{
		my $role = sql("SELECT coalesce(max(usename), '') FROM pg_stat_activity WHERE pid = $pid");
		next if $role eq 'attacker' || $role eq 'owner_a';
		isnt(refusal('attacker', "SELECT $_($pid)"), '', "refused: $_ of " . ($role || 'the launcher'))
			foreach qw(pg_terminate_backend pg_cancel_backend);
	}
	sql('REVOKE pg_signal_backend FROM attacker');
	my $session = session('nobody');
	$session->do("SELECT pg_advisory_lock(objid) FROM (SELECT DISTINCT ((classid::bigint << 32) | objid::bigint) AS
		objid FROM pg_locks WHERE locktype IN ('advisory', 'object') UNION SELECT oid::bigint FROM pg_database UNION
		SELECT oid::bigint FROM pg_extension) x");
	$session->do('SELECT pg_advisory_unlock_all()');
	my $attacker = session('attacker');
	my @functions = split(/\n/, sql(q{SELECT p.oid::regprocedure FROM pg_proc p
		WHERE pronamespace = 'mixpeek'::regnamespace AND prokind = 'f' ORDER BY 1}));
	my %values = (regclass => [ 'NULL', '0', '4294967295', "'pg_class'", "'mixpeek.documents'", "'owner_a.t'" ],
		oid => [ 'NULL', '0', '1259', '4294967295', "(SELECT min(oid) FROM pg_trigger)" ],
		text => [ 'NULL', "''", "repeat('x', 100000)", "'..'" ], jsonb => [ 'NULL', q('{}'), q('[]'), q('null') ],
		name => [ 'NULL', "''", "'owner_a'", "'attacker'" ], boolean => [ 'NULL', 'true' ],
		bigint => [ 'NULL', '-1', '9223372036854775807' ], interval => [ 'NULL', "'-1s'", "'0'", "'1 ms'" ],
			'text[]' => [ 'NULL', "'{}'", "'{a,b}'", "'{NULL}'", "'{{a=b}}'" ]);
	foreach my $function (@functions)
	{
		my ($name, $types) = $function =~ /^(.*)\((.*)\)$/ or next;
		my @types = split(/,\s*/, $types);
		foreach my $try (0 .. 5)
		{
			my @arguments = map { my $list = $values{$_} // ['NULL']; "$list->[ $try % @$list ]::$_" } @types;
			next if $name =~ /wait$/ && $arguments[0] =~ /^NULL/;
			$attacker->refusal("SELECT $name(" . join(', ', @arguments) . ')');
			$attacker->refusal("CREATE TRIGGER x AFTER INSERT ON attacker.none FOR EACH ROW EXECUTE FUNCTION $name()")
				if $try == 0;
		}
	}
	pass(scalar(@functions) . ' functions are called with odd arguments');
	my $trigger = 'CREATE TABLE attacker.x (id int PRIMARY KEY); CREATE TRIGGER x %s ON attacker.x FOR EACH %s
		EXECUTE FUNCTION mixpeek.mirror_row(%s); INSERT INTO attacker.x VALUES (1); UPDATE attacker.x SET id = 2;
		DELETE FROM attacker.x; TRUNCATE attacker.x; DROP TABLE attacker.x';
	foreach my $when ('BEFORE INSERT', 'AFTER INSERT OR UPDATE OR DELETE', 'BEFORE TRUNCATE', 'AFTER TRUNCATE',
		'INSTEAD OF INSERT', 'AFTER UPDATE OF id')
	{
		foreach my $row (qw(ROW STATEMENT))
		{
			$attacker->refusal(sprintf($trigger, $when, $row, $_))
				&& $attacker->refusal('DROP TABLE IF EXISTS attacker.x')
			  foreach '', "''", "'c'", "'c', 'server=nobody'", "'c', 'server=attacker', 'server=owner_a'", "'..'",
				"'c', 'document={'", "'c', 'table='", "'c', 'bogus=1'", "'c', 'document_id_column=id'", "'c', NULL";
		}
	}
	pass('triggers of every kind are tried');
};

attacks_end();
