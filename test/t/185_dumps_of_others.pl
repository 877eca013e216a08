# Dumps by roles that are no superusers, and dumps without some tables: each can be made as if the extension were not
# there, holds no record of a table that the role may not read, and restores.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Roles;

my $node = roles_node();
sql('CREATE EXTENSION mixpeek_docs');
my $api = make_mirror();
sql("CREATE TABLE a.u (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('a.u', 'u')", 'owner_a');
sql(qq{SELECT mixpeek.mirror('a.$_->[0]', '$_->[1]', '{"metadata": {"v": "\$v"}, "a field": "\$v", "né": "\$v"}')}, 'owner_a')
	foreach ([ t => 'a' ], [ u => 'u' ]);
sql("CREATE TABLE m.secret (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('m.secret', 'secret')", 'attacker');
sql("INSERT INTO a.t SELECT g, 'x' FROM generate_series(1, 3) g; INSERT INTO a.u VALUES (1, 'y'), (2, '\\N \"''')",
	'owner_a');
sql("INSERT INTO m.secret VALUES (1, 'z')", 'attacker');
is(sql("SELECT mixpeek.wait('2 min')"), 't', 'before the dumps: wait() returns true');
# Documents that were deleted since, a key that is still in the outbox, and a mirror whose records are forgotten
sql('ALTER SYSTEM SET mixpeek.enabled = off; SELECT pg_reload_conf()');
sql("UPDATE a.t SET v = 'w' WHERE id = 2; SELECT mixpeek.unmirror('a.u'); SELECT mixpeek.mirror('a.u', 'other')",
	'owner_a');

my $dir = PostgreSQL::Test::Utils::tempdir();

# dump(NAME, ROLE, OPTION...): tests that pg_dump ends with 0 and prints nothing; returns the file.
sub dump_as
{
	my ($name, $role, @options) = @_;
	command_checks_all([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', $role, '-f', "$dir/$name.sql", @options ],
		0, [qr/^$/], [qr/^$/], "$name: pg_dump ends with 0 and prints nothing");
	return "$dir/$name.sql";
}

# What the extension knows in a database, but for that which a restore may change.
my @state = (
	[ documents => q{SELECT relation, collection, key, document_id, enrichments, server, marker, created_at, mirrored_at,
		state, last_error, next_attempt_at, attempts, in_doubt, content_hash, features_hash, intent_hash,
		place, replaced_id, fields, enrichments_current FROM mixpeek.documents ORDER BY relation::text, collection, key} ],
	[ outbox => 'SELECT * FROM mixpeek.outbox ORDER BY relation::text, operation, collection, key' ],
	[ origin => 'SELECT id, system_identifier, database, instance FROM mixpeek.origin' ],
	[ forgotten => 'SELECT * FROM mixpeek.forgotten ORDER BY 1, 2' ]);

sub state_in
{
	my ($database) = @_;
	return join('', map { "-- $_->[0]\n" . sql($_->[1], undef, $database) =~ s/(?<=.)\z/\n/r } @state);
}

# restore(NAME, FILE, OPTION...): a test that a new database is restored without an error; returns what was printed.
sub restore
{
	my ($name, $file, @options) = @_;
	sql("CREATE DATABASE \"$name\"");
	my ($out, $err) = run_command([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($name),
		'-f', $file ]);
	unlike($err, qr/ERROR/, "$name: the dump is restored");
	is(sql('SELECT count(*) FROM mixpeek.dump', undef, $name), 0, "$name: mixpeek.dump is empty");
	return $err;
}

#
# Roles
#

sql('CREATE ROLE dumper LOGIN; GRANT pg_read_all_data TO dumper');
my $all = state_in('postgres');
like($all, qr/^a\.u\|B\|other/m, 'before the dumps: the outbox has an entry');
like($all, qr/a\.u:\|u\|\{"a field",né\}\|/m, 'before the dumps: a mirror is forgotten');
foreach my $role ('postgres', 'dumper')
{
	foreach my $options ([], ['--inserts'], ['--column-inserts'])
	{
		my $name = join(' ', 'by', $role, @$options);
		my $warnings = restore($name, dump_as($name, $role, @$options));
		is(state_in($name), $all, "$name: a restore has all of it");
		is($warnings, '', "$name: a restore prints nothing");
	}
}

# The user mappings in a dump by a role that may not see their options have no key.
sql('INSERT INTO a.t VALUES (9, NULL)', 'owner_a', 'by dumper');
like(refusal(q{SELECT mixpeek.get_document('a', 'x')}, 'owner_a', 'by dumper'),
	qr/mapping for server "mixpeek" has no API key/,
	'by dumper: the API key is missing, and an error says so');

# A database's owner who is no superuser and may not read m.secret, without that table
sql('CREATE ROLE dba LOGIN; ALTER DATABASE postgres OWNER TO dba; GRANT owner_a TO dba');
isnt(refusal('SELECT * FROM m.secret', 'dba'), '', 'a database owner may not read all tables');
my $file = dump_as('owner', 'dba', '--exclude-schema=m');
unlike(slurp_file($file), qr/secret/, "owner: the dump has nothing of a table that the role may not read");
my $warnings = restore('owner', $file);
is(state_in('owner'), join('', grep { !/secret/ } split(/^/, $all)),
	'owner: a restore has the records of the other tables');
is(sql("SELECT count(*) FROM mixpeek.dump_content() WHERE record::text ~ 'secret'", 'dba'), 0,
	'dump_content() shows a role nothing of a table that it may not read');
is(sql("SELECT count(*) FROM mixpeek.dump_content() WHERE record::text ~ 'secret'"), 1,
	'dump_content() shows a superuser all');
my $error = refusal(q{INSERT INTO mixpeek.dump VALUES ('origin', '{}')}, 'dumper');
like($error, qr/permission denied/, 'a role that may dump may not restore');

# Policies of a user's table: its records are not dumped for a role to which they apply, and pg_dump stops at the table.
sql('ALTER TABLE a.u ENABLE ROW LEVEL SECURITY', 'owner_a');
is(sql(q{SELECT count(*) FROM mixpeek.dump_content() WHERE record ->> 'relation' = 'a.u'}, 'dumper'), 0,
	'a table with policies: dump_content() shows nothing of it to a role to which they apply');
sql('ALTER TABLE a.u DISABLE ROW LEVEL SECURITY', 'owner_a');

#
# Tables and roles that are missing where it is restored
#

$all = state_in('postgres');	# ALTER TABLE was a reason to check all rows of a.u
my $without = restore('without', dump_as('without', 'postgres', '-T', 'a.t', '-T', 'm.secret'));
is(state_in('without'), join('', grep { !/^(a\.t|m\.secret)\|/ } split(/^/, $all)),
	'a dump without two of the tables: a restore has the rest');
is(scalar(() = $without =~ /WARNING: .*the records of table "a\.t" are not restored/g), 2,
	'a dump without a table: one WARNING for all of its records, one for its entries');

#
# A restore of data only
#

my $data = dump_as('data', 'postgres', '--data-only', '--disable-triggers');
my (undef, $err) = run_command([ 'psql', '-X', '-q', '-d', $node->connstr('without'), '-f', $data ]);
like($err, qr/ERROR: .*restored_by_trigger/, 'a restore that disables the triggers: an error, no row in mixpeek.dump');
is(sql('SELECT count(*) FROM mixpeek.dump', undef, 'without'), 0,
	'a restore that disables the triggers: mixpeek.dump is empty');

# The schema alone
my $schema = slurp_file(dump_as('schema', 'postgres', '--schema-only'));
like($schema, qr/sk_owner_a/, 'a dump of the schema alone has the API keys, as docs/security.md says');
unlike(slurp_file(dump_as('schema_dumper', 'dumper', '--schema-only')), qr/sk_owner_a/,
	'a dump of the schema by another role has no API keys of others');

done_testing();
