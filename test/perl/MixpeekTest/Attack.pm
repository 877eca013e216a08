# Attacks on a cluster, one named test each, with tests of the cluster after each.
#
#   use MixpeekTest::Attack;
#
#   attack_cluster(conf => "mixpeek.max_attempts = 1");
#
#   attack 'a function that sleeps in a policy' => sub {
#       sql_as('attacker', q{
#           CREATE TABLE attacker.t (...); SELECT mixpeek.mirror('attacker.t', 'c', server => 'attacker')});
#       wait_for('...', sub { ... });
#       is(refusal('reader', 'SELECT ...'), 'permission denied ...', '...');
#   };
#   attack 'one that needs more', rights => { create_on_database => 1 }, worker => 'any' => sub { ... };
#
#   attacks_end();
#
# The cluster (attack_cluster) has the library preloaded, the extension in the database postgres, which belongs to
# db_owner, and these roles, all with LOGIN:
#
#   superuser   bootstrap superuser; its server is mixpeek, with a mapping of its own
#   db_owner    owns the database, and so the schema public; no superuser; server db_owner
#   owner_a     who must not suffer; has the tables owner_a.t (mirrored), owner_a.wb (mirrored, with both write-back
#               columns), and owner_a.secret (mirrored; no other role may read it), the server owner_a
#   attacker    owns the schema attacker, where attacks make their tables; server attacker
#   reader      may SELECT from owner_a.t, and nothing else; owns the empty schema reader
#   nobody      has no right at all
#
# Each server has the name of its role, its own mock API (api(ROLE)), and a key of its own in the role's mapping:
# "sk_secret_ROLE". Only that role has USAGE on it. The tables of owner_a are mirrored into collections of the same
# names: t, wb, secret. The others' APIs forget their documents when an attack begins.
#
# After each attack these must hold, and are one assertion each of the attack's subtest:
#
#   - the cluster lives: the same postmaster, no process of it was ended by a signal or wrote PANIC, TRAP
#     or a sanitizer's report
#   - the worker lives: same pid, unless the attack says worker => 'any' (a new one is waited for)
#   - owner_a is served: a fresh row of owner_a.t is at her API within $Attack::soon seconds, one of owner_a.wb, which
#     goes both ways, within $Attack::later seconds
#   - no role has got a right: attributes, memberships, settings and owners of roles and objects, ACLs of all that is
#     not attacker's own, the extension's own objects with their triggers, rules and policies, and the rows of
#     owner_a.secret are what they were
#   - no key has got out: none is in the server's log, in mixpeek's tables and views, or with an API that is not its own
#   - attacker can get rid of her objects: DROP OWNED ends in time
#
# An attack that fails one of them gets the next one a new cluster, so no attack depends on another. What an attack
# makes in the schema attacker and as attacker is dropped after it, and attacker is made anew.
#
# The cluster does not restart after a crash (append restart_after_crash = on to conf where that is tested).
#
# The function attacker.inside() returns whether it is run by one of mixpeek_docs' processes, and not by a client's
# session.
#
# Options of attack():
#
#   worker => 'any'      the worker may end and be replaced meanwhile
#   rights => {...}      what attacker has for this one attack: create_on_database, usage_on_wrapper, createrole,
#                        owns_database
#   gains => qr/.../     lines of the comparison of rights that may differ
#   fresh => 1           begins with a new cluster, and ends with it
#   served => 0          owner_a need not be served (attacks in which a superuser stops everything)
#
# What else is there for an attack's body (all exported):
#
#   sql(SQL), sql_as(ROLE, SQL, DATABASE)     their output; die where they fail
#   refusal(ROLE, SQL)       the first error's text, '' if there was none
#   session(ROLE, ...)       a MixpeekTest::Session of it; ended after the attack
#   api(ROLE)                the MixpeekTest::Server of the role's server
#   documents(ROLE, COLLECTION)     the metadata of its documents, by key
#   records(TABLE)             mixpeek.documents by key: a hash of hashes
#   wait_for(WHAT, CODE)     as MixpeekTest's, for $Attack::patience seconds
#   wait_for_states(TABLE, STATES)  until nothing of the table is in the outbox, and its records' states are those
#                            ('mirrored', 'failed,mirrored', '', or a pattern)
#   in_flight(ROLE, N)       until N requests are under way at the role's API, or have been
#   worker_pid(), agent_pids(ROLE), mixpeek_processes(), worker_rss() in MB, log_since(), node()
#   loot(SQL)                makes an SQL function attacker.loot(text), which tries SQL as whoever runs it, and notes
#                            the outcome and the user in the table attacker.noted
#
package MixpeekTest::Attack;
use strict;
use warnings;
use Exporter qw(import);
use JSON::PP;
use MixpeekTest ();
use MixpeekTest::Session;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(attack_cluster attack attacks_end sql sql_as refusal session api documents records wait_for
	wait_for_states in_flight
  worker_pid agent_pids mixpeek_processes worker_rss log_since node loot);

# Seconds: until owner_a's rows must be there, without and with write-back; how long an attack waits for what it
# expects.
our $slow = $ENV{MIXPEEK_SLOW} // 1;
our $soon = 10 * $slow;
our $later = 30 * $slow;
our $patience = 30 * $slow;

my @roles = qw(db_owner owner_a attacker reader nobody);
my %options;       # of attack_cluster()
my %apis;          # by role
my $node;          # undef: the next attack makes one
my $clusters = 0;
my $root;          # a superuser's session
my @sessions;      # those of the attack under way
my $mark = 0;      # where the log stood when it began
my $fresh = 1000;  # the last row of owner_a's
my ($postmaster, $started);

# attack_cluster(conf => TEXT, servers => { OPTION => VALUE }, apis => { ROLE => { OPTION => VALUE } }): what the
# attacks are made on; servers: options of the foreign servers, apis: of a role's mock server. The cluster is made by
# the first attack.
sub attack_cluster
{
	%options = @_;
	return;
}

sub node { return $node; }
sub api { return $apis{$_[0]} // die "no API of $_[0]"; }
sub key_of { return "sk_secret_$_[0]"; }
sub server_of { return $_[0] eq 'superuser' ? 'mixpeek' : $_[0]; }

sub make_cluster
{
	my @members = ('superuser', @roles);

	foreach my $role (@members)
	{
		$apis{$role} //= MixpeekTest::Server->new(api_key => key_of($role), record => 1, enrich => 'now',
			%{ $options{apis}{$role} // {} });
		$apis{$role}->reset(documents => JSON::PP::true, faults => JSON::PP::true);
	}
	$clusters++;
	$node = MixpeekTest::mixpeek_node("attacked$clusters", q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.read_timeout = 500ms
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
max_worker_processes = 24
max_prepared_transactions = 5
max_connections = 60
jit = off
log_statement = none
log_line_prefix = '%m [%p] %b %q%u '
} . ($options{conf} // ''));
	$root = undef;
	sql(join('', map { "CREATE ROLE $_ LOGIN;\n" } @roles));
	sql(join('', map { server_statements($_) } @members));
	sql('ALTER DATABASE postgres OWNER TO db_owner; CREATE SCHEMA owner_a AUTHORIZATION owner_a;
		CREATE SCHEMA reader AUTHORIZATION reader');
	make_attackers_place();
	sql_as('owner_a', q{
		CREATE TABLE owner_a.t (id int PRIMARY KEY, v text);
		CREATE TABLE owner_a.wb (id int PRIMARY KEY, v text, doc_id text, enrichments jsonb);
		CREATE TABLE owner_a.secret (id int PRIMARY KEY, v text);
		INSERT INTO owner_a.secret SELECT g, 'secret of owner_a ' || g FROM generate_series(1, 3) g;
		SELECT mixpeek.mirror('owner_a.t', 't', server => 'owner_a'),
			mixpeek.mirror('owner_a.wb', 'wb', server => 'owner_a', document_id_column => 'doc_id',
			enrichments_column => 'enrichments'),
			mixpeek.mirror('owner_a.secret', 'secret', server => 'owner_a');
		GRANT USAGE ON SCHEMA owner_a TO reader, attacker; GRANT SELECT ON owner_a.t TO reader});
	($postmaster, $started) = postmaster();
	MixpeekTest::wait_for('owner_a to be mirrored', sub { keys %{ records('owner_a.secret', 'mirrored') } == 3 });
	return;
}

sub server_statements
{
	my ($role) = @_;
	my $server = server_of($role);
	my %server = (base_url => $apis{$role}->url, namespace => 'test', request_timeout => 5,
		%{ $options{servers} // {} });
	my $list = join(', ', map { "$_ '$server{$_}'" } sort keys %server);
	my $user = $role eq 'superuser' ? 'CURRENT_USER' : $role;

	return "CREATE SERVER $server FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($list);\n" . mapping_statements($role,
		$user);
}

sub mapping_statements
{
	my ($role, $user) = @_;
	my $server = server_of($role);

	return "GRANT USAGE ON FOREIGN SERVER $server TO $user;
		CREATE USER MAPPING FOR $user SERVER $server OPTIONS (api_key '@{[ key_of($role) ]}');\n";
}

sub make_attackers_place
{
	sql(q{
		CREATE SCHEMA attacker AUTHORIZATION attacker;
		GRANT USAGE ON SCHEMA attacker TO reader, owner_a, nobody;
		SET ROLE attacker;
		CREATE FUNCTION attacker.inside() RETURNS boolean LANGUAGE sql STABLE AS $$
			SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a
				WHERE a.backend_type = 'client backend') $$;
		RESET ROLE});
	return;
}

# The superuser's own session; another one where that has ended.
sub root
{
	return $root if $root && $root->{process} && $root->{process}->pumpable;
	$root = MixpeekTest::Session->new($node, undef, settings => '-c statement_timeout=60s -c search_path=pg_catalog');
	return $root;
}

sub sql { return root()->do($_[0]); }

sub run_as
{
	my ($role, $sql, $database) = @_;
	local $ENV{PGOPTIONS} = '-c statement_timeout=' . 50 * $slow . 's';
	my @user = $role eq 'superuser' ? () : ('-U', $role);

	return $node->psql($database // 'postgres', $sql, extra_params => [ @user ], timeout => 100 * $slow);
}

sub sql_as
{
	my ($role, $sql, $database) = @_;
	my ($status, $out, $err) = run_as($role, $sql, $database);

	die "$role: $sql: $err" if $status;
	return $out;
}

sub refusal
{
	my ($role, $sql, $database) = @_;
	my ($status, undef, $err) = run_as($role, $sql, $database);

	return $err =~ /(?:ERROR|FATAL|PANIC):\s+(.*)/ ? $1 : $status ? $err : '';
}

sub session
{
	my ($role, %option) = @_;
	my $session = MixpeekTest::Session->new($node, $role eq 'superuser' ? undef : $role, %option);

	push @sessions, $session;
	return $session;
}

sub wait_for
{
	local $MixpeekTest::timeout = $patience;
	return MixpeekTest::wait_for(@_);
}

# What the role's API has in the collection: the metadata by the row's key.
sub documents
{
	my ($role, $collection) = @_;
	return { map { ($_->{metadata}{mixpeek_docs} =~ s/^[^:]*:[^:]*://r) =>
		$_->{metadata} } @{ api($role)->documents($collection) } };
}

# The table's records in mixpeek.documents, by key; with STATE only those.
sub records
{
	my ($table, $state) = @_;
	my $relation = $table =~ /^\d+$/ ? $table : "coalesce(pg_catalog.to_regclass('$table')::oid, 0)";
	my $where = defined $state ? "AND state = '$state'" : '';

	return decode_json(sql("SELECT coalesce(json_object_agg(key, to_json(d)), '{}') FROM mixpeek.documents d
		WHERE relation = $relation $where"));
}

# STATES is a pattern of the distinct states in their order, with dirty for what is in the outbox.
sub wait_for_states
{
	my ($table, $states) = @_;
	my $relation = $table =~ /^\d+$/ ? $table : "'$table'::pg_catalog.regclass";

	eval {
		wait_for("$table to become '$states'", sub {
			return sql(qq{
				SELECT coalesce(string_agg(DISTINCT state, ',' ORDER BY state), '') FROM (
					SELECT state FROM mixpeek.documents WHERE relation = $relation
					UNION ALL SELECT 'dirty' FROM mixpeek.outbox WHERE relation = $relation) s}) =~ /^(?:$states)$/;
		});
		1;
	} or die "$@" . what_stands($relation);
	return records($table);
}

# The table's records, entries and locks, and what the processes do, in a few lines: printed with a failure.
sub what_stands
{
	my ($relation) = @_;
	return sql(qq{
		SELECT string_agg(what, chr(10)) FROM (
			(SELECT concat_ws(' ', 'line', key, state, attempts, next_attempt_at - now(), 'polls', enrichment_polls,
				last_error) AS what
				FROM mixpeek.documents WHERE relation = $relation ORDER BY state <> 'mirrored' DESC,
				created_at DESC LIMIT 5)
			UNION ALL (SELECT concat_ws(' ', 'entry', operation, collection, key) FROM mixpeek.outbox
				WHERE relation = $relation LIMIT 5)
			UNION ALL (SELECT concat_ws(' ', backend_type, pid, usename, state, wait_event, query)
				FROM pg_stat_activity WHERE backend_type LIKE 'mixpeek%')
			UNION ALL (SELECT concat_ws(' ', 'lock', pid, mode, granted) FROM pg_locks WHERE locktype = 'relation'
				AND relation = ($relation)::oid LIMIT 5)) x});
}

sub in_flight
{
	my ($role, $n) = @_;
	wait_for("$n requests of $role under way", sub {
		my $stats = api($role)->stats;
		$stats->{in_flight} >= $n || $stats->{requests} >= $n;
	});
	return;
}

sub processes
{
	my ($where) = @_;
	return split(/\n/, sql("SELECT pid FROM pg_stat_activity WHERE $where"));
}

sub worker_pid { return (processes("backend_type = 'mixpeek_docs worker' AND datname = 'postgres'"))[0] // ''; }
sub agent_pids
{
	return processes("backend_type = 'mixpeek_docs agent'" . (defined $_[0] ? " AND usename = '$_[0]'" : ''));
}
sub mixpeek_processes { return processes("backend_type LIKE 'mixpeek_docs%'"); }

sub worker_rss
{
	my $pid = worker_pid() || return 0;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+) kB/m;
	return $kb / 1024;
}

# The log since the attack began.
sub log_since { return slurp_file($node->logfile, $mark); }

sub postmaster
{
	my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	return ($pid, sql('SELECT pg_postmaster_start_time()'));
}

sub loot
{
	sql_as('attacker', q{
		CREATE TABLE attacker.noted (number serial, what text, who name, session name, outcome text);
		CREATE FUNCTION attacker.loot(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
		DECLARE
			outcome text;
		BEGIN
			BEGIN
				EXECUTE statement;
				outcome := 'done';
			EXCEPTION WHEN OTHERS THEN
				outcome := sqlerrm;
			END;
			INSERT INTO attacker.noted (what, who, session, outcome) VALUES (statement, current_user, session_user,
				outcome);
			RETURN true;
		END $$});
	return;
}

#
# What must not change
#

# Each is a query whose lines are compared. %s: oids of attacker and the schema, whose own objects do not count.
my %must_stay = (
	roles => q{
		SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
			rolconnlimit, rolpassword IS NULL
		FROM pg_authid},
	memberships => q{SELECT roleid::regrole, member::regrole FROM pg_auth_members},
	'settings of roles and databases' => q{SELECT setdatabase, setrole::regrole, setconfig FROM pg_db_role_setting},
	databases => q{SELECT datname, datdba::regrole, datacl FROM pg_database},
	'parameters' => q{SELECT pg_size_bytes(setting || unit), name FROM pg_settings WHERE name = 'mixpeek.none'},
	schemas => q{SELECT nspname, nspowner::regrole, nspacl FROM pg_namespace WHERE nspname NOT LIKE 'pg_t%'
		AND NOT nspowner IN (OTHERS)},
	relations => q{
		SELECT c.oid::regclass, relkind, relowner::regrole, relacl, relrowsecurity, relforcerowsecurity
		FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('owner_a', 'mixpeek')},
	columns => q{
		SELECT attrelid::regclass, attname, atttypid::regtype, attacl
		FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname IN ('owner_a', 'mixpeek') AND attnum > 0},
	functions => q{
		SELECT p.oid::regprocedure, proowner::regrole, proacl, prosecdef, md5(prosrc || coalesce(prosqlbody::text, ''))
		FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname IN ('owner_a', 'mixpeek',
			'pg_catalog') AND NOT (nspname = 'pg_catalog' AND p.oid < 16384)},
	operators => q{SELECT o.oid::regoperator FROM pg_operator o JOIN pg_namespace n ON n.oid = oprnamespace
		WHERE nspname IN ('mixpeek', 'pg_catalog') AND o.oid >= 16384},
	triggers => q{
		SELECT tgrelid::regclass, tgname, tgfoid::regproc, tgenabled
		FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace
			WHERE nspname IN ('owner_a', 'mixpeek')},
	rules => q{SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class
		JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('owner_a', 'mixpeek')},
	policies => q{SELECT polrelid::regclass, polname, polroles::regrole[], pg_get_expr(polqual, polrelid)
		FROM pg_policy p JOIN pg_class c ON c.oid = polrelid JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname IN ('owner_a', 'mixpeek')},
	'event triggers' => q{SELECT evtname, evtowner::regrole, evtenabled, evtfoid::regproc FROM pg_event_trigger},
	wrappers => q{SELECT fdwname, fdwowner::regrole, fdwacl FROM pg_foreign_data_wrapper},
	servers => q{SELECT srvname, srvowner::regrole, srvacl, srvoptions FROM pg_foreign_server
		WHERE NOT srvowner IN (OTHERS)},
	mappings => q{SELECT umuser::regrole, srvname, umoptions FROM pg_user_mapping m
		JOIN pg_foreign_server s ON s.oid = umserver WHERE umuser NOT IN (OTHERS)},
	'default privileges' => q{SELECT defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, defaclacl
		FROM pg_default_acl WHERE defaclrole NOT IN (OTHERS)},
	extensions => q{SELECT extname, extowner::regrole, extnamespace::regnamespace FROM pg_extension},
	publications => q{SELECT pubname FROM pg_publication WHERE pubowner NOT IN (OTHERS)},
	'large objects' => q{SELECT count(*) FROM pg_largeobject_metadata WHERE lomowner NOT IN (OTHERS)},
	'rows of owner_a.secret' => q{SELECT id, v FROM owner_a.secret},
	'the origin' => q{SELECT o FROM mixpeek.origin o},
	'settings of the server' => q{SELECT name, setting FROM pg_file_settings});
delete $must_stay{parameters};

# "WHAT: LINE" of all that must not change.
sub standing
{
	my $others = "SELECT oid FROM pg_roles WHERE rolname IN ('attacker', 'db_owner', 'reader', 'nobody')";
	my @queries = map {
		my $query = $must_stay{$_} =~ s/OTHERS/$others/gr;
		"SELECT '$_: ' || pg_catalog.concat_ws(' ', q.*) FROM ($query) q"
	} sort keys %must_stay;
	my %lines = map { $_ => 1 } split(/\n/, sql(join("\nUNION ALL ", @queries)));

	return \%lines;
}

sub differences
{
	my ($before, $after, $allowed) = @_;
	my @all = ((map { "gone: $_" } grep { !$after->{$_} } sort keys %$before),
		(map { "new: $_" } grep { !$before->{$_} } sort keys %$after));

	return join("\n", grep { !defined $allowed || $_ !~ $allowed } @all);
}

# Where a key is that should not be there.
sub leaks
{
	my @places;
	my $relations = join(' UNION ALL ', map { "SELECT '$_' FROM mixpeek.$_ x WHERE x::text LIKE '%sk\\_secret\\_%'" }
		qw(documents outbox mirrors forgotten origin taxonomies clusters));

	push @places, 'the log: ' . $1 if log_since() =~ /^(.*sk_secret_.*)$/m;
	push @places, split(/\n/, sql($relations));
	foreach my $role (sort keys %apis)
	{
		my $text = JSON::PP->new->canonical->encode($apis{$role}->requests);
		my %seen = map { $_ => 1 } $text =~ /sk_secret_(\w+)/g;
		delete $seen{$role};
		push @places, map { "the key of $_ at the API of $role" } sort keys %seen;
	}
	return join("\n", @places);
}

# Signs of a crash in the log.
sub crash
{
	my @signs = grep {
		/PANIC:|TRAP:|AddressSanitizer|runtime error:|was terminated by signal|all server processes terminated/
		  || /was not properly shut down|exited with exit code [2-9]|Failed process was running/
	} split(/\n/, log_since());

	splice(@signs, 5) if @signs > 5;
	return join("\n", @signs) if @signs;
	return join(' ', postmaster()) eq "$postmaster $started" ? '' : 'another postmaster';
}

# A row of owner_a's own, there and back. Returns what is missing.
sub unserved
{
	my $id = ++$fresh;
	my $missing = '';

	sql("INSERT INTO owner_a.t VALUES ($id, 'fresh $id'); INSERT INTO owner_a.wb VALUES ($id, 'fresh $id')");
	foreach my $table (qw(t wb))
	{
		my $end = time() + ($table eq 't' ? $soon : $later);
		my $extra = $table eq 'wb' ? 'AND EXISTS (SELECT FROM owner_a.wb w WHERE w.id = ' . $id
			. ' AND w.doc_id = d.document_id AND w.enrichments IS NOT NULL)' : '';
		my $there;

		until ($there)
		{
			$there = sql("SELECT count(*) FROM mixpeek.documents d WHERE relation = 'owner_a.$table'::regclass
				AND key = '$id' AND state = 'mirrored' $extra");
			last if time() > $end;
			sleep(0.01) unless $there;
		}
		$missing .= "owner_a.$table: row $id is not mirrored in time\n" . what_stands("'owner_a.$table'::regclass")
			. "\n" unless $there;
		my $document = documents('owner_a', $table)->{$id};
		$missing .= "owner_a.$table: the document of row $id is missing or wrong\n" unless $document
			&& $document->{v} eq "fresh $id";
	}
	return $missing;
}

#
# An attack
#

sub give_rights
{
	my ($rights) = @_;

	sql('GRANT CREATE ON DATABASE postgres TO attacker') if $rights->{create_on_database};
	sql('GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO attacker') if $rights->{usage_on_wrapper};
	sql('ALTER ROLE attacker CREATEROLE') if $rights->{createrole};
	sql('ALTER DATABASE postgres OWNER TO attacker') if $rights->{owns_database};
	return;
}

# Everything as it was made, but for the tables of owner_a.
sub clean_up
{
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('attacker', 'db_owner', 'reader',
		'nobody') AND backend_type = 'client backend'");
	foreach my $gid (split(/\n/, sql('SELECT gid FROM pg_prepared_xacts')))
	{
		sql("ROLLBACK PREPARED '$gid'");
	}
	sql('ALTER DATABASE postgres OWNER TO db_owner; ALTER DATABASE postgres RESET ALL');
	# Another role of that name: what is remembered of an owner whose functions were slow is of her that was.
	wait_for('attacker to be dropped', sub {
		my $error = root()->refusal("SET lock_timeout = '20s'; DROP OWNED BY attacker CASCADE; RESET lock_timeout");
		die "attacker's objects cannot be dropped: $error" unless $error =~ /^(?:out of shared memory)?$/;
		   # her functions may have taken all locks
		return $error eq '';
	});
	sql('DROP ROLE attacker; CREATE ROLE attacker LOGIN; GRANT USAGE ON SCHEMA owner_a TO attacker');
	make_attackers_place();
	sql(mapping_statements('attacker', 'attacker'));
	return;
}

sub run_body
{
	my ($body) = @_;
	my $done = eval { $body->(); 1 };
	my $problem = $@;

	fail("the attack is carried out: $problem") unless $done;
	@sessions = ();
	return;
}

# A test: the function returns what is wrong, or ''.
sub nothing_wrong
{
	my ($name, $function) = @_;
	my $problem = eval { $function->() } // "cannot be seen: $@";
	return is($problem, '', $name);
}

sub worker_problem
{
	my ($pid, $any) = @_;

	return worker_pid() eq $pid ? '' : 'another process, or none' unless $any;
	wait_for('a worker', sub { worker_pid() });
	return '';
}

sub look_after
{
	my ($before, $pid, %option) = @_;
	my $well = nothing_wrong('the cluster lives', \&crash);

	$well = nothing_wrong('owner_a is served', \&unserved) && $well if $option{served} // 1;
	$well = nothing_wrong('the worker is not replaced', sub {
		worker_problem($pid, ($option{worker} // '') eq 'any');
	}) && $well;
	$well = nothing_wrong('no role has got a right', sub { differences($before, standing(), $option{gains}) }) && $well;
	$well = nothing_wrong('no key has got out', \&leaks) && $well;
	$well = nothing_wrong('attacker can drop what she has', sub { clean_up(); return '' }) && $well;
	return $well;
}

sub begin_attack
{
	my (%option) = @_;

	make_cluster() unless $node;
	foreach my $role (keys %apis)
	{
		my $api = $apis{$role};
		$api->reset(faults => JSON::PP::true, $role eq 'owner_a' ? () : (documents => JSON::PP::true));
		$api->config(latency => 0, rate => 0, concurrency => 0, enrich => 'now');
	}
	give_rights($option{rights} // {});
	$mark = -s $node->logfile;
	return (standing(), wait_for('the worker', \&worker_pid));
}

sub attack
{
	my $body = pop;
	my ($name, %option) = @_;

	return if defined $ENV{MIXPEEK_ATTACK} && $name !~ /$ENV{MIXPEEK_ATTACK}/;
	drop_cluster() if $option{fresh};
	subtest $name => sub {
		my $well;
		my ($before, $pid) = eval { begin_attack(%option) };

		if (!$before)
		{
			fail("there is a cluster to be attacked: $@");
		}
		else
		{
			run_body($body);
			$well = look_after($before, $pid, %option);
		}
		drop_cluster() if !$well || $option{fresh};
		done_testing();
	};
	return;
}

# The next attack gets another one.
sub drop_cluster
{
	@sessions = ();
	return unless $node;
	$root->close if $root;
	$root = undef;
	$node->stop('immediate', fail_ok => 1);
	$node = undef;
	return;
}

# Ends the test.
sub attacks_end
{
	drop_cluster();
	%apis = ();
	done_testing();
	return;
}

1;
