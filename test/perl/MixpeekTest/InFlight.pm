# Statements on a mirrored table while a row of it is under way: each one (a deed) at each moment of a request, with and
# without write-back, is an attack of its own (see Attack.pm).
#
#   use MixpeekTest::InFlight;
#
#   in_flight_attacks(write_back => 1);
#
# The moments:
#
#   before   the key is claimed, but its request waits for another one of the same server
#   during   the API has the request
#   after    the API has answered, and the outcome waits for the table's lock, which is held by the session that does
#            the deed
#
# The table is attacker.f (id, v, extra, doc_id, enrichments), two rows of it are under way, and it is mirrored into the
# collection f of the server of the role. After the deed the outcome is checked, see expect below, as is all that
# Attack.pm looks at.
package MixpeekTest::InFlight;
use strict;
use warnings;
use Exporter qw(import);
use MixpeekTest::Attack;
use Test::More;

our @EXPORT = qw(in_flight_attacks);

# A deed: its name, SQL, who does it (attacker, unless by says otherwise), and
#   expect   mirrored: the rows there are have their documents, all columns v and, with write-back, doc_id (the name of
#            the table by then in table, where it has changed); gone: no record and no entry of the table is left; any:
#            whatever, but nothing breaks
#   before   SQL of the superuser before all
#   after    a function, called when the outcome is there
#   undo     SQL of the superuser afterwards
#   alone    it cannot be done within a transaction
#   moments  where not all make sense
#   write_back  1 or 0: only with, or only without
my @deeds = (
	{ name => 'DROP TABLE', sql => 'DROP TABLE attacker.f', expect => 'gone' },
	{ name => 'DROP TABLE and another one of its name',
		sql => q{DROP TABLE attacker.f; CREATE TABLE attacker.f (id int PRIMARY KEY, v text, extra int, doc_id text,
			enrichments jsonb);
			INSERT INTO attacker.f VALUES (1, 'innocent'), (2, 'innocent')}, expect => 'gone',
		after => sub {
			is(sql('SELECT count(*) FROM attacker.f WHERE doc_id IS NULL AND enrichments IS NULL'), 2,
				'nothing is written to the other table');
		} },
	{ name => 'DROP TABLE and a mirrored one of its name',
		sql => q{DROP TABLE attacker.f; CREATE TABLE attacker.f (id int PRIMARY KEY, v text, extra int, doc_id text,
			enrichments jsonb);
			SELECT mixpeek.mirror('attacker.f', 'f', server => 'attacker'); INSERT INTO attacker.f
				VALUES (1, 'a new one')},
		after => sub { wait_for_states('attacker.f', 'mirrored');
		is(join(', ',
			map { $_->{metadata}{v} }
			grep { $_->{metadata}{mixpeek_docs} =~ /:1$/ } @{ api('attacker')->documents('f') }),
			'a new one', 'the new row has the document') } },
	{ name => 'DROP TABLE and a view of its name',
		sql => q{DROP TABLE attacker.f; CREATE VIEW attacker.f AS SELECT 1 AS id, 'a view' AS v}, expect => 'gone' },
	{ name => 'DROP TABLE and a rollback', sql => 'SAVEPOINT s; DROP TABLE attacker.f; ROLLBACK TO s',
		expect => 'mirrored' },
	{ name => 'RENAME', sql => 'ALTER TABLE attacker.f RENAME TO g', expect => 'mirrored', table => 'attacker.g' },
	{ name => 'RENAME, and another table takes its name',
		sql => q{ALTER TABLE attacker.f RENAME TO g; CREATE TABLE attacker.f (id int PRIMARY KEY, v text, extra int,
			doc_id text, enrichments jsonb);
			INSERT INTO attacker.f VALUES (1, 'innocent'), (2, 'innocent')}, expect => 'mirrored',
				table => 'attacker.g',
		after => sub {
			is(sql('SELECT count(*) FROM attacker.f WHERE doc_id IS NULL AND enrichments IS NULL'), 2,
				'nothing is written to the other table');
		} },
	{ name => 'RENAME, and a view of another owner takes its name', by => 'superuser',
		sql => q{ALTER TABLE attacker.f RENAME TO g; CREATE VIEW attacker.f AS SELECT id, v, 1 AS extra, v AS doc_id,
			NULL::jsonb AS enrichments FROM owner_a.secret;
			GRANT ALL ON attacker.f TO PUBLIC}, expect => 'mirrored', table => 'attacker.g',
				undo => 'DROP VIEW attacker.f',
		after => sub {
			unlike(join(' ', map { $_->{v} // '' } values %{ documents('attacker', 'f') }), qr/secret/,
				'nothing is read from the view');
		} },
	{ name => 'RENAME of a column', sql => 'ALTER TABLE attacker.f RENAME v TO w' },
	{ name => 'two columns exchange their names',
		sql => 'ALTER TABLE attacker.f RENAME v TO w; ALTER TABLE attacker.f RENAME doc_id TO v;
			ALTER TABLE attacker.f RENAME w TO doc_id' },
	{ name => 'RENAME of the write-back column', sql => 'ALTER TABLE attacker.f RENAME doc_id TO other_id',
		write_back => 1 },
	{ name => 'RENAME of the key column', sql => 'ALTER TABLE attacker.f RENAME id TO identity' },
	{ name => 'DROP COLUMN of a mirrored one', sql => 'ALTER TABLE attacker.f DROP v' },
	{ name => 'DROP COLUMN of the write-back one', sql => 'ALTER TABLE attacker.f DROP doc_id, DROP enrichments' },
	{ name => 'DROP COLUMN of the key', sql => 'ALTER TABLE attacker.f DROP id' },
	{ name => 'DROP COLUMN and one of its name and another type',
		sql => 'ALTER TABLE attacker.f DROP v; ALTER TABLE attacker.f ADD v bigint DEFAULT 4096' },
	{ name => 'DROP COLUMN of the write-back one and another of its name',
		sql => 'ALTER TABLE attacker.f DROP doc_id; ALTER TABLE attacker.f ADD doc_id bigint' },
	{ name => 'ADD COLUMN', sql => 'ALTER TABLE attacker.f ADD more int DEFAULT 7', expect => 'mirrored' },
	{ name => 'ADD COLUMN with a default that is computed',
		sql => 'ALTER TABLE attacker.f ADD more text DEFAULT random()::text', expect => 'mirrored' },
	{ name => 'ADD COLUMN that is generated',
		sql => "ALTER TABLE attacker.f ADD more text GENERATED ALWAYS AS (v || '!') STORED", expect => 'mirrored' },
	{ name => 'ALTER TYPE of a mirrored column', sql => 'ALTER TABLE attacker.f ALTER v TYPE bigint USING 4096' },
	{ name => 'ALTER TYPE of a mirrored column to and fro',
		sql => 'ALTER TABLE attacker.f ALTER extra TYPE text; ALTER TABLE attacker.f ALTER extra TYPE int
			USING extra::int', expect => 'mirrored' },
	{ name => 'ALTER TYPE of a write-back column', sql => 'ALTER TABLE attacker.f ALTER doc_id TYPE bigint USING NULL,
		ALTER enrichments TYPE text' },
	{ name => 'ALTER TYPE of a write-back column to one too short',
		sql => 'ALTER TABLE attacker.f ALTER doc_id TYPE varchar(3)' },
	{ name => 'ALTER TYPE of the key to bigint', sql => 'ALTER TABLE attacker.f ALTER id TYPE bigint',
		expect => 'mirrored' },
	{ name => 'ALTER TYPE of the key to text', sql => 'ALTER TABLE attacker.f ALTER id TYPE text',
		expect => 'mirrored' },
	{ name => 'ALTER TYPE of the key to one without its values',
		sql => "ALTER TABLE attacker.f ALTER id TYPE timestamptz USING now() + id * interval '1 day'" },
	{ name => 'ALTER TYPE of the key to a domain that refuses all',
		sql => q{CREATE DOMAIN attacker.none AS int CHECK (NOT attacker.inside()); ALTER TABLE attacker.f
			ALTER id TYPE attacker.none} },
	{ name => 'OWNER TO another', by => 'superuser', sql => 'ALTER TABLE attacker.f OWNER TO owner_a',
		undo => 'DROP TABLE attacker.f' },
	{ name => 'OWNER TO another, and back', by => 'superuser',
		sql => 'ALTER TABLE attacker.f OWNER TO owner_a; ALTER TABLE attacker.f OWNER TO attacker',
		expect => 'mirrored' },
	{ name => 'REASSIGN OWNED', by => 'superuser', sql => 'REASSIGN OWNED BY attacker TO reader',
		undo => 'REASSIGN OWNED BY reader TO attacker; ALTER SCHEMA reader OWNER TO reader' },
	{ name => 'SET SCHEMA', by => 'superuser', sql => 'ALTER TABLE attacker.f SET SCHEMA public',
		expect => 'mirrored', table => 'public.f' },
	{ name => 'RENAME of the schema', by => 'superuser', sql => 'ALTER SCHEMA attacker RENAME TO renamed',
		expect => 'mirrored', table => 'renamed.f',
		undo => 'ALTER SCHEMA renamed RENAME TO attacker' },
	{ name => 'the primary key is dropped', sql => 'ALTER TABLE attacker.f DROP CONSTRAINT f_pkey' },
	{ name => 'the primary key is made anew',
		sql => 'ALTER TABLE attacker.f DROP CONSTRAINT f_pkey; ALTER TABLE attacker.f ADD PRIMARY KEY (id)',
		expect => 'mirrored' },
	{ name => 'the primary key gets another column',
		sql => 'ALTER TABLE attacker.f DROP CONSTRAINT f_pkey; ALTER TABLE attacker.f ADD PRIMARY KEY (extra)' },
	{ name => 'the primary key gets one more column',
		sql => 'ALTER TABLE attacker.f DROP CONSTRAINT f_pkey; ALTER TABLE attacker.f ADD PRIMARY KEY (id, extra)' },
	{ name => 'REPLICA IDENTITY instead of the primary key',
		sql => 'ALTER TABLE attacker.f DROP CONSTRAINT f_pkey; CREATE UNIQUE INDEX ident ON attacker.f (id);
			ALTER TABLE attacker.f ALTER id SET NOT NULL, REPLICA IDENTITY USING INDEX ident', expect => 'mirrored' },
	{ name => 'RENAME of the primary key', sql => 'ALTER INDEX attacker.f_pkey RENAME TO pk', expect => 'mirrored' },
	{ name => 'TRUNCATE', sql => 'TRUNCATE attacker.f', expect => 'empty' },
	{ name => 'DELETE', sql => 'DELETE FROM attacker.f', expect => 'empty' },
	{ name => 'DELETE and INSERT', sql => "DELETE FROM attacker.f; INSERT INTO attacker.f VALUES (1, 'again')",
		expect => 'mirrored' },
	{ name => 'UPDATE of the key', sql => 'UPDATE attacker.f SET id = id + 100', expect => 'mirrored' },
	{ name => 'two rows exchange their keys',
		sql => 'UPDATE attacker.f SET id = id + 10; UPDATE attacker.f SET id = 3 - (id - 10)', expect => 'mirrored' },
	{ name => 'UPDATE of the row', sql => "UPDATE attacker.f SET v = 'changed'", expect => 'mirrored' },
	{ name => 'DROP SCHEMA CASCADE', sql => 'DROP SCHEMA attacker CASCADE', expect => 'gone' },
	{ name => 'DROP OWNED', sql => 'DROP OWNED BY attacker CASCADE', expect => 'gone' },
	{ name => 'SET UNLOGGED', sql => 'ALTER TABLE attacker.f SET UNLOGGED', expect => 'mirrored' },
	{ name => 'SET UNLOGGED and LOGGED', sql => 'ALTER TABLE attacker.f SET UNLOGGED; ALTER TABLE attacker.f
		SET LOGGED', expect => 'mirrored' },
	{ name => 'CLUSTER', sql => 'CLUSTER attacker.f USING f_pkey', expect => 'mirrored' },
	{ name => 'VACUUM FULL', sql => 'VACUUM FULL attacker.f', expect => 'mirrored', alone => 1 },
	{ name => 'REINDEX', sql => 'REINDEX TABLE attacker.f', expect => 'mirrored' },
	{ name => 'SET STORAGE, STATISTICS and fillfactor',
		sql => 'ALTER TABLE attacker.f ALTER v SET STORAGE EXTERNAL, ALTER v SET STATISTICS 10,
			SET (fillfactor = 10)', expect => 'mirrored' },
	{ name => 'DISABLE TRIGGER ALL', by => 'superuser', sql => 'ALTER TABLE attacker.f DISABLE TRIGGER ALL',
		after => sub { } },
	{ name => 'DROP TRIGGER', sql => 'DO $$ DECLARE n name; BEGIN FOR n IN SELECT tgname FROM pg_trigger
		WHERE tgrelid = \'attacker.f\'::regclass AND NOT tgisinternal LOOP
		EXECUTE format(\'DROP TRIGGER %I ON attacker.f\', n); END LOOP; END $$', expect => 'gone' },
	{ name => 'another template', sql => q{SELECT mixpeek.mirror('attacker.f', 'f',
		'{"metadata": {"v": "$v", "constant": 1}}', server => 'attacker')}, expect => 'mirrored', no_back => 1 },
	{ name => 'another collection', sql => q{SELECT mixpeek.unmirror('attacker.f', 'f', delete_documents => true);
		SELECT mixpeek.mirror('attacker.f', 'f2', server => 'attacker')},
		after => sub {
			wait_for_states('attacker.f', 'mirrored');
			wait_for('the old ones to go', sub { !keys %{ documents('attacker', 'f') } });
			pass('the documents of the old collection are deleted');
		} },
	{ name => 'unmirror()', sql => q{SELECT mixpeek.unmirror('attacker.f')}, expect => 'gone' },
	{ name => 'ENABLE and FORCE ROW LEVEL SECURITY without a policy',
		sql => 'ALTER TABLE attacker.f ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY' },
	{ name => 'row-level security with a policy of her own',
		sql => q{CREATE POLICY p ON attacker.f USING (v <> 'hidden' AND attacker.inside() IS NOT NULL);
		ALTER TABLE attacker.f ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY}, expect => 'mirrored' },
	{ name => 'a trigger that refuses every change',
		sql => q{CREATE FUNCTION attacker.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no';
			END $$;
		CREATE TRIGGER r BEFORE UPDATE ON attacker.f FOR EACH ROW EXECUTE FUNCTION attacker.refuse()} },
	{ name => 'a rule instead of UPDATE', sql => 'CREATE RULE r AS ON UPDATE TO attacker.f DO INSTEAD NOTHING' },
	{ name => 'a check that fails', sql => 'ALTER TABLE attacker.f ADD CHECK (doc_id IS NULL) NOT VALID' },
	{ name => 'REVOKE from herself', sql => 'REVOKE ALL ON attacker.f FROM attacker' },
	{ name => 'REVOKE of the schema', by => 'superuser',
		sql => 'REVOKE USAGE ON SCHEMA attacker FROM attacker; ALTER SCHEMA attacker OWNER TO reader',
		undo => 'ALTER SCHEMA attacker OWNER TO attacker' },
	{ name => 'INHERIT', sql => 'CREATE TABLE attacker.parent (id int, v text); ALTER TABLE attacker.f ALTER id
		SET NOT NULL; ALTER TABLE attacker.f INHERIT attacker.parent', expect => 'mirrored' },
	{ name => 'a child table with the same keys',
		sql => "CREATE TABLE attacker.child () INHERITS (attacker.f); INSERT INTO attacker.child
			VALUES (1, 'of the child')" },
	{ name => 'REVOKE USAGE on the server', by => 'superuser',
		sql => 'REVOKE USAGE ON FOREIGN SERVER attacker FROM attacker',
		undo => 'GRANT USAGE ON FOREIGN SERVER attacker TO attacker' },
	{ name => 'REVOKE and GRANT of the server', by => 'superuser',
		sql => 'REVOKE USAGE ON FOREIGN SERVER attacker FROM attacker;
			GRANT USAGE ON FOREIGN SERVER attacker TO attacker', expect => 'mirrored' },
	{ name => 'ALTER SERVER RENAME', by => 'superuser', sql => 'ALTER SERVER attacker RENAME TO elsewhere',
		undo => 'ALTER SERVER elsewhere RENAME TO attacker' },
	{ name => 'DROP USER MAPPING', by => 'superuser', sql => 'DROP USER MAPPING FOR attacker SERVER attacker' },
	{ name => 'DROP SERVER CASCADE', by => 'superuser', sql => 'DROP SERVER attacker CASCADE', undo => 'server' },
	{ name => 'ALTER SERVER to another API', by => 'superuser', expect => 'elsewhere' });

my $elsewhere;    # another API of attacker's

sub table_statements
{
	my ($write_back) = @_;
	my $columns = $write_back ? q{, document_id_column => 'doc_id', enrichments_column => 'enrichments'} : '';

	return qq{
		CREATE TABLE attacker.f (id int PRIMARY KEY, v text, extra int, doc_id text, enrichments jsonb);
		SELECT mixpeek.mirror('attacker.f', 'f', server => 'attacker'$columns);
		CREATE TABLE attacker.blocker (id int PRIMARY KEY);
		SELECT mixpeek.mirror('attacker.blocker', 'blocker', server => 'attacker')};
}

my $rows = q{INSERT INTO attacker.f VALUES (1, 'one', 1), (2, 'two', 2)};

# Brings the rows to the moment; returns the session that is to do the deed.
sub reach
{
	my ($moment, $by, $latency) = @_;
	my $session = session($by);

	api('attacker')->config(latency => $latency);
	if ($moment eq 'before')
	{
		sql(q{ALTER SERVER attacker OPTIONS (ADD max_connections '1')});
		sql_as('attacker', 'INSERT INTO attacker.blocker VALUES (1)');
		in_flight('attacker', 1);
		sql_as('attacker', $rows);
		wait_for('the keys to be claimed, or to wait for room', sub {
			sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'attacker.f'::regclass}) > 0
				|| api('attacker')->stats->{in_flight} == 0 });
	}
	else
	{
		sql_as('attacker', $rows);
		in_flight('attacker', 1);
	}
	# What comes later is answered at once.
	api('attacker')->config(latency => 0);
	$session->do('BEGIN');
	if ($moment eq 'after')
	{
		# A lock with which the table can be read, but neither a claim nor storing an outcome can go on.
		$session->do('LOCK TABLE attacker.f IN SHARE MODE');
		wait_for('the answers', sub { api('attacker')->stats->{in_flight} == 0 });
	}
	return $session;
}

sub do_deed
{
	my ($session, $deed) = @_;

	if (!$deed->{sql})
	{
		$elsewhere //= MixpeekTest::Server->new(api_key => api('attacker')->api_key, enrich => 'now');
		$session->do("ALTER SERVER attacker OPTIONS (SET base_url '@{[ $elsewhere->url ]}')");
	}
	elsif ($deed->{alone})
	{
		$session->do('ROLLBACK');
		$session->do($deed->{sql});
		return;
	}
	else
	{
		$session->do($deed->{sql});
	}
	$session->do('COMMIT');
	return;
}

sub undo
{
	my ($deed) = @_;

	if (!$deed->{sql})
	{
		sql("ALTER SERVER attacker OPTIONS (SET base_url '@{[ api('attacker')->url ]}')");
	}
	elsif (($deed->{undo} // '') eq 'server')
	{
		sql(MixpeekTest::Attack::server_statements('attacker'));
	}
	elsif ($deed->{undo})
	{
		sql($deed->{undo});
	}
	return;
}

# Until nothing of the relation is under way. What waits for a right, a mapping or a better day is "pending", and stays.
sub at_rest
{
	my ($relation) = @_;
	wait_for('the rows to be at rest', sub {
		return sql(qq{
			SELECT NOT EXISTS (SELECT FROM mixpeek.documents WHERE relation = $relation AND state = 'sending')}) eq 't'
			&& api('attacker')->stats->{in_flight} == 0;
	});
	return;
}

sub check
{
	my ($deed, $relation, $write_back) = @_;
	my $expect = $deed->{expect} // 'any';

	if ($expect eq 'gone')
	{
		wait_for('nothing to be known of it', sub {
			sql("SELECT (SELECT count(*) FROM mixpeek.documents WHERE relation = $relation) + (SELECT count(*)
				FROM mixpeek.outbox WHERE relation = $relation)") eq '0'; });
		pass('neither a record nor an entry of the table is left');
	}
	elsif ($expect eq 'empty')
	{
		wait_for_states($relation, '');
		is(scalar(keys %{ documents('attacker', 'f') }), 0, 'the documents are deleted');
	}
	elsif ($expect eq 'mirrored')
	{
		my $table = $deed->{table} // 'attacker.f';
		wait_for_states($relation, 'mirrored');
		my $there = documents('attacker', 'f');
		is(join(' ', map { "$_=$there->{$_}{v}" } sort keys %$there),
			sql("SELECT string_agg(id || '=' || v, ' ' ORDER BY id::text) FROM $table"),
			'the documents equal the rows');
		return unless $write_back && !$deed->{no_back};
		wait_for('the write-back', sub { sql("SELECT count(*) FROM $table t WHERE NOT EXISTS (
			SELECT FROM mixpeek.documents d WHERE relation = $relation AND d.key = t.id::text
				AND d.document_id = t.doc_id)") eq '0' });
		pass("the documents' ids are written back");
	}
	else
	{
		at_rest($relation);
	}
	$deed->{after}->() if $deed->{after};
	return;
}

sub one_attack
{
	my ($deed, $moment, $write_back) = @_;

	sql_as('attacker', table_statements($write_back));
	my $relation = sql("SELECT 'attacker.f'::regclass::oid");
	my $session = reach($moment, $deed->{by} // 'attacker', $moment eq 'after' ? 150 : 250);
	my $done = eval {
		do_deed($session, $deed);
		check($deed, $relation, $write_back);
		# And a change afterwards, which must find no leftovers of before.
		my $table = sql("SELECT oid::regclass FROM pg_class WHERE oid = $relation");
		refusal('superuser', "UPDATE $table SET extra = coalesce(extra, 0) + 1") if $table ne '';
		at_rest($relation);
		1;
	};
	my $problem = $@;
	undo($deed);
	sql('ALTER SERVER attacker OPTIONS (DROP max_connections)') if $moment eq 'before'
		&& $deed->{name} !~ /DROP SERVER/;
	die $problem unless $done;
	return;
}

sub in_flight_attacks
{
	my (%option) = @_;
	my $back = $option{write_back};

	attack_cluster();
	foreach my $deed (@deeds)
	{
		next if defined $deed->{write_back} && $deed->{write_back} != $back;
		foreach my $moment (qw(before during after))
		{
			next if $moment eq 'after' && $deed->{alone};
			attack "$deed->{name}, $moment the request, " . ($back ? 'with' : 'without') . ' write-back' => sub {
				one_attack($deed, $moment, $back);
			};
		}
	}
	$elsewhere = undef;
	attacks_end();
	return;
}

1;
