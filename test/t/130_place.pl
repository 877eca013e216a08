# What a server remembers of a worker that died, what it makes of clocks that are set, and whether it knows a
# clone of its disk. Where something must go wrong inside the worker, a library is used that can be told to
# (see Weakness in src/base/settings.h).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $api = MixpeekTest::Server->new(enrich => 'never');
my $node;

sub new_node
{
	my ($name, %options) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name, %options);

	$new->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ], allows_streaming => 1);
	$new->append_conf('postgresql.conf', q{
		shared_preload_libraries = 'mixpeek_docs'
		restart_after_crash = on
		log_line_prefix = '%n [%p] %b '
		mixpeek.retry_max_delay = 1
	});
	return $new;
}

# While the server recovers from a crash nobody can ask it; several statements are one transaction.
sub ask
{
	my ($statement, %option) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $node->installed_command('psql'), qw(-X -q -A -t -d), $node->connstr('postgres'), '-c', $statement ],
		'<', \undef, '>', \$out, '2>', \$err) or return;
	chomp($out);
	return $out;
}

sub sql { my ($statement) = @_; return $node->safe_psql('postgres', $statement); }
sub worker { return ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'"); }

sub wait_for_worker
{
	my ($not) = @_;
	return wait_for('a worker', sub { my $pid = worker() // ''; return $pid ne '' && $pid ne ($not // '') && $pid });
}

sub mirrored
{
	my ($table) = @_;
	return (ask("SELECT (SELECT count(*) FROM $table) = (SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND state = 'mirrored')"
		. " AND NOT EXISTS (SELECT FROM mixpeek.outbox WHERE relation = '$table'::regclass)") // '') eq 't';
}

sub set
{
	my ($setting) = @_;
	$node->append_conf('postgresql.conf', "$setting\n");
	$node->reload;
	wait_for('the setting', sub { my ($name, $value) = $setting =~ /^(\S+) = '?([^']*)/; (ask("SELECT current_setting('$name')") // '') eq $value });
	return;
}

# Pid 0 would be this process and all that it has started.
sub signal
{
	my ($signal, $pid) = @_;
	die "no process: '$pid'" unless $pid =~ /^\d+$/ && $pid > 1;
	return kill($signal, $pid);
}

sub log_since { my ($offset) = @_; return slurp_file($node->logfile, $offset); }
sub problem { return ask("SELECT coalesce(max(problem), '') FROM mixpeek.mirrors WHERE relation = 'doomed'::regclass") // 'unreachable'; }
sub set_aside { return ask("SELECT count(*) FROM mixpeek.set_aside") // ''; }

# A worker that died

SKIP:
{
	skip 'there is no library that can be told to fail (test/run builds one)', 1 unless $ENV{MIXPEEK_WEAK};
	$node = new_node('weak', install_path => $ENV{MIXPEEK_WEAK});
	$node->start;
	sql('CREATE EXTENSION mixpeek_docs');
	create_server($node, 'mixpeek', $api, request_timeout => 1);
	sql(q{
		CREATE ROLE owner LOGIN; CREATE ROLE other LOGIN; GRANT CREATE ON SCHEMA public TO owner;
		GRANT USAGE ON FOREIGN SERVER mixpeek TO owner; CREATE USER MAPPING FOR owner SERVER mixpeek OPTIONS (api_key 'sk_test');
		SET ROLE owner;
		CREATE TABLE doomed (id int PRIMARY KEY);
		CREATE TABLE fine (id int PRIMARY KEY);
		SELECT mixpeek.mirror('doomed', 'doomed'), mixpeek.mirror('fine', 'fine');
	});
	is(sql("SELECT mixpeek.wait('1 min')"), 't', 'before the first crash: wait() returns true');

	# The crash
	set('mixpeek.weaken = by_fault');
	my $offset = -s $node->logfile;
	my $start = time();
	ask('INSERT INTO doomed VALUES (1); INSERT INTO fine VALUES (1)');
	wait_for('the crash', sub { log_since($offset) =~ /terminated by signal 11/ });
	wait_for('the other table', sub { mirrored('fine') });
	pass('crash at a table: other tables go on');
	like(log_since($offset), qr/table "doomed" is set aside for 5 seconds: the worker crashed \(signal 11\) while it worked on the table/, 'crash at a table: the log says which');
	like(problem(), qr/^set aside until .*crashed \(signal 11\).*\(1 times lately\).*mixpeek\.retry\('public\.doomed'\)/, "crash at a table: its mirror's problem says so");
	is(ask("SET ROLE other; SELECT problem IS NULL FROM mixpeek.mirrors WHERE relation = 'doomed'::regclass"), 't', 'crash at a table: other roles do not see the problem');
	isnt(($node->psql('postgres', 'SET ROLE owner; TABLE mixpeek.set_aside'))[0], 0, 'crash at a table: other roles may not read mixpeek.set_aside');
	wait_for('the second crash', sub { (() = log_since($offset) =~ /terminated by signal 11/g) == 2 });
	cmp_ok(time() - $start, '>', 4.5, 'crash at a table: it is tried again after 5 s');
	wait_for('its being set aside', sub { log_since($offset) =~ /set aside for 20 seconds/ });
	sql('INSERT INTO fine VALUES (2)');
	wait_for('the other table', sub { mirrored('fine') });
	pass('second crash at a table: it waits for longer, and other tables go on');
	$node->restart;
	like(problem(), qr/\(2 times lately\)/, 'second crash at a table: the pause outlives a restart of the server');
	ask("SET ROLE owner; SELECT mixpeek.retry('doomed')");
	wait_for('the third crash', sub { (() = log_since($offset) =~ /terminated by signal 11/g) == 3 });
	wait_for('its being set aside', sub { log_since($offset) =~ /set aside for (5|80) seconds/ });
	pass("second crash at a table: its owner's retry() has it tried at once");
	set('mixpeek.weaken = nothing');
	wait_for('the worker', sub { worker() });
	sql("SET ROLE owner; SELECT mixpeek.retry()");
	wait_for('the table', sub { mirrored('doomed') });
	is(problem(), '', 'a table that is well again has no problem');

	# An error
	set('mixpeek.weaken = by_error');
	$offset = -s $node->logfile;
	ask('INSERT INTO doomed VALUES (2); INSERT INTO fine VALUES (3)');
	wait_for('the other table', sub { mirrored('fine') });
	pass('error at a table: other tables go on');
	wait_for('its being set aside', sub { problem() =~ /^set aside until .* met an error/ });
	pass('error at a table: it is set aside');
	set('mixpeek.weaken = nothing');
	sql("SELECT mixpeek.retry('doomed')");
	wait_for('the table', sub { mirrored('doomed') });

	# The crash of the process that runs the owner's functions
	sql(q{
		SET ROLE owner;
		CREATE FUNCTION visible(id int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
		CREATE TABLE forsaken (id int PRIMARY KEY);
		ALTER TABLE forsaken ENABLE ROW LEVEL SECURITY;
		ALTER TABLE forsaken FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON forsaken USING (visible(id)) WITH CHECK (true);
		SELECT mixpeek.mirror('forsaken', 'forsaken');
		INSERT INTO forsaken VALUES (1);
	});
	wait_for('the table', sub { mirrored('forsaken') });
	set('mixpeek.weaken = by_fault');
	$offset = -s $node->logfile;
	ask('INSERT INTO forsaken VALUES (2); INSERT INTO fine VALUES (1000)');
	wait_for('its being set aside', sub { log_since($offset) =~ /table "forsaken" is set aside for 5 seconds: the worker crashed \(signal 11\)/ });
	wait_for('the other table', sub { mirrored('fine') });
	pass('crash of an agent at a table: it is set aside, and other tables go on');
	like(ask("SELECT problem FROM mixpeek.mirrors WHERE relation = 'forsaken'::regclass"), qr/^set aside until/, 'crash of an agent at a table: its owner sees the problem');
	set('mixpeek.weaken = nothing');
	ask('SET ROLE owner; SELECT mixpeek.retry()');	# of the other one, too, if the worker looked at it meanwhile
	wait_for('the table', sub { mirrored('forsaken') && set_aside() eq '0' });

	# kill -9 while it works
	my $stall = sub {
		my ($id) = @_;
		set('mixpeek.weaken = by_stall');
		sql("INSERT INTO doomed VALUES ($id)");
		my $worker = wait_for_worker();
		wait_for('the worker to stall', sub { ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $worker AND state = 'active' AND xact_start < clock_timestamp() - interval '0.3 s'") });
		set('mixpeek.weaken = nothing');	# of the next one
		return $worker;
	};
	my $worker = $stall->(3);
	$offset = -s $node->logfile;
	signal('KILL', $worker);
	wait_for_worker($worker);
	wait_for('its being set aside', sub { log_since($offset) =~ /set aside for 5 seconds: the worker was killed while/ });
	sql('INSERT INTO fine VALUES (4)');
	wait_for('the other table', sub { mirrored('fine') });
	wait_for('the table', sub { mirrored('doomed') });
	wait_for('its being forgotten', sub { sql('INSERT INTO fine SELECT max(id) + 1 FROM fine'); set_aside() eq '0' });
	pass('worker killed at a table: it waits for a moment, and nothing is left of that when it went well');

	# ended for other reasons
	$worker = $stall->(100);
	signal('TERM', $worker);
	wait_for_worker($worker);
	wait_for('the table', sub { mirrored('doomed') });
	is(set_aside(), '0', 'SIGTERM sets no table aside');
	$worker = $stall->(101);
	my $session = $node->background_psql('postgres');
	signal('KILL', $session->query('SELECT pg_backend_pid()'));
	wait_for('the worker to end', sub { !kill(0, $worker) });
	wait_for_worker($worker);
	wait_for('the table', sub { mirrored('doomed') });
	is(set_aside(), '0', 'the crash of another process sets no table aside');
	eval { $session->quit };
	$worker = $stall->(102);
	$node->stop('immediate');
	$node->start;
	wait_for('the table', sub { mirrored('doomed') });
	is(set_aside(), '0', 'an immediate shutdown sets no table aside');
	$worker = wait_for_worker();
	signal('KILL', $worker);
	wait_for_worker($worker);
	is(set_aside(), '0', 'the death of a worker that had nothing to do sets no table aside');

	# Several in a row
	$node->restart;
	my @starts = (time());
	$worker = wait_for_worker();
	foreach my $i (1 .. 4)
	{
		signal('KILL', $worker);
		$worker = wait_for_worker($worker);
		push @starts, time();
	}
	cmp_ok($starts[1] - $starts[0], '<', 2, 'a worker that died is there again at once');
	cmp_ok($starts[4] - $starts[3], '>', 1.5, 'a worker that dies again and again comes later');
	$worker = wait_for_worker();

	# Errors that have nothing to do with a table end soon when what caused them is over.
	$offset = -s $node->logfile;
	sql('ALTER TABLE mixpeek.documents RENAME TO gone; INSERT INTO fine SELECT max(id) + 1 FROM fine');
	wait_for('errors', sub { (() = log_since($offset) =~ /goes on after an error in .*(?:mixpeek\.documents|no table "documents")/g) >= 4 });
	sql('ALTER TABLE mixpeek.gone RENAME TO documents');
	$start = time();
	wait_for('the table', sub { mirrored('fine') });
	cmp_ok(time() - $start, '<', 12, 'an error met four times delays nothing for more than 12 s after it is over');

	# The file
	my $file = $node->data_dir . '/pg_stat_tmp/mixpeek_docs.' . sql("SELECT oid FROM pg_database WHERE datname = 'postgres'");
	ok(-e $file, 'the file about the worker is there');
	$node->backup('backup');
	ok(!glob($node->backup_dir . '/backup/pg_stat_tmp/mixpeek_docs*'), 'the file about the worker is left out of base backups');
	$node->stop;
	open(my $handle, '>', $file) or die;
	print $handle 'garbage' x 1000;
	close($handle);
	$node->start;
	sql('INSERT INTO doomed VALUES (200)');
	wait_for('the table', sub { mirrored('doomed') });
	pass('the file about the worker may hold garbage');
	$node->stop;
	unlink($file);
	mkdir($file);
	$node->start;
	sql('INSERT INTO doomed VALUES (201)');
	wait_for('the table', sub { mirrored('doomed') });
	like(slurp_file($node->logfile), qr/could not open file "pg_stat_tmp\/mixpeek_docs/, 'the file about the worker may be unreadable');
	sql('CREATE DATABASE short_lived');
	sql('DROP DATABASE short_lived');
	$node->stop;
}

# Clocks that are set (test/clock.c); the monotonic ones go on

my $clock_dir = PostgreSQL::Test::Utils::tempdir();
my ($clock_file, $clock_library) = ("$clock_dir/clock", "$clock_dir/clock.so");

# In place: the file is mapped.
sub set_clock
{
	my ($offset) = @_;
	open(my $handle, -e $clock_file ? '+<' : '>', $clock_file) or die;
	print $handle pack('d', $offset);
	close($handle);
	return;
}

sub with_clock
{
	my ($action) = @_;
	local %ENV = (%ENV, LD_PRELOAD => $clock_library, MIXPEEK_TEST_CLOCK => $clock_file);
	return $action->();
}

# As after another boot of the machine, or on another machine.
sub forget_clock { unlink(glob($node->data_dir . '/pg_stat_tmp/mixpeek_docs.*')); return; }

sub pending { return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'clocked'::regclass AND state = 'pending'"); }

# Rows that the API cannot take just now.
sub make_pending
{
	my ($n) = @_;
	$api->faults({ kind => 'status', status => 500, method => 'POST', path => 'clocked' });
	sql("INSERT INTO clocked SELECT m + g FROM generate_series(1, $n) g, (SELECT coalesce(max(id), 0) AS m FROM clocked) x");
	wait_for('pending rows', sub { pending() == $n });
	return;
}

sub takes_at_most
{
	my ($seconds, $name) = @_;
	my $start = time();
	$api->faults();
	wait_for('the table', sub { mirrored('clocked') });
	cmp_ok(time() - $start, '<', $seconds, $name);
	return;
}

# A create that times out after 2 s and is carried out after 3.2 s; the next one may not be sent before 4 s.
sub give_up_create
{
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '2')");
	$api->faults({ kind => 'delay', when => 'before', ms => 3200, body => '"collection_id"', count => 1 });
	sql('INSERT INTO clocked SELECT coalesce(max(id), 0) + 1 FROM clocked');
	wait_for('the create to be given up', sub { pending() == 1 });
	return;
}

sub is_not_doubled
{
	my ($name) = @_;
	wait_for('the table', sub { mirrored('clocked') });
	wait_for('the end of all that is under way', sub { $api->stats->{in_flight} == 0 });
	is($api->stats->{duplicates}, 0, $name);
	return;
}

SKIP:
{
	skip 'there is no C compiler', 1 unless system('cc', qw(-shared -fPIC -O -o), $clock_library, 'test/clock.c') == 0;
	$api->reset(documents => 1);
	$node = new_node('clock');
	set_clock(0);
	with_clock(sub { $node->start });
	sql('CREATE EXTENSION mixpeek_docs');
	create_server($node, 'mixpeek', $api, request_timeout => 2);
	sql("CREATE TABLE clocked (id int PRIMARY KEY); SELECT mixpeek.mirror('clocked', 'clocked')");
	my $offset = -s $node->logfile;

	make_pending(20);
	set_clock(-3600);
	cmp_ok(abs(time() - 3600 - sql('SELECT extract(epoch FROM clock_timestamp())')), '<', 60, 'the clock can be set');
	takes_at_most(15, 'clock set back by an hour: pending rows do not wait for it');
	wait_for('the log', sub { log_since($offset) =~ /the clock was set back by 3\d\d\d seconds/ });
	pass('clock set back by an hour: the log says so');
	make_pending(5);
	my $worker = wait_for_worker();
	signal('TERM', $worker);
	wait_for_worker($worker);
	takes_at_most(15, 'clock set back by an hour: pending rows of a new worker do not wait for it');
	make_pending(5);
	with_clock(sub { $node->restart });
	takes_at_most(15, 'clock set back by an hour: pending rows do not wait after a restart of the server');
	make_pending(5);
	signal('KILL', wait_for_worker());
	set_clock(-7200);
	takes_at_most(20, 'clock set back again before a crash: pending rows do not wait for it');

	set_clock(31536000);
	make_pending(5);
	$node->stop;
	forget_clock();
	set_clock(0);
	with_clock(sub { $node->start });
	takes_at_most(15, 'clock that was a year ahead before a reboot: pending rows do not wait for it');
	sql("UPDATE mixpeek.documents SET next_attempt_at = now() + interval '1 year'");
	$node->stop;
	forget_clock();
	with_clock(sub { $node->start });
	wait_for('looks that are due again', sub { sql("SELECT coalesce(max(next_attempt_at) < now() + interval '4 hours', true) FROM mixpeek.documents") eq 't' });
	pass('clock that was a year ahead before a reboot: polls do not wait for it');

	give_up_create();
	set_clock(3600);
	sql('INSERT INTO clocked SELECT max(id) + 1 FROM clocked');	# it wakes the worker
	is_not_doubled('clock set forward while a key waits: nothing is doubled');
	give_up_create();
	signal('TERM', wait_for_worker());
	set_clock(7200);
	is_not_doubled('clock set forward while no worker runs: nothing is doubled');
	give_up_create();
	$node->stop;
	set_clock(10800);
	with_clock(sub { $node->start });
	is_not_doubled('clock set forward while the server is down: nothing is doubled');
	give_up_create();
	$node->stop;
	forget_clock();
	set_clock(14400);
	with_clock(sub { $node->start });
	is_not_doubled('clock set forward, and nothing known of the clock before: nothing is doubled');

	# What is not in doubt is not kept waiting by that
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '60')");
	make_pending(3);
	$api->faults();
	sql("UPDATE mixpeek.documents SET in_doubt = false, next_attempt_at = now() WHERE state = 'pending'");
	$node->stop;
	forget_clock();
	with_clock(sub { $node->start });
	takes_at_most(15, 'nothing known of the clock before: a key that is not in doubt does not wait');
	my ($created) = sql("SELECT abs(extract(epoch FROM max(mirrored_at) - clock_timestamp())) < 60 FROM mixpeek.documents");
	is($created, 't', 'mirrored_at is a time of the wall clock');
	$node->stop;
}

# Clones: the machine is one of the test's own making

my $root = PostgreSQL::Test::Utils::tempdir();

# machine(FILE => CONTENT...): these files and no others; a name's DEVICE stands for the data directory's device.
sub machine
{
	my (%files) = @_;
	my $device = (stat($node->data_dir))[0];
	my $number = (($device >> 8) & 0xfff) . ':' . (($device & 0xff) | (($device >> 12) & 0xfff00));

	File::Path::remove_tree("$root/$_") foreach qw(sys etc proc var run);
	while (my ($name, $content) = each %files)
	{
		my $path = "$root/" . ($name =~ s/DEVICE/$number/r);
		File::Path::make_path(File::Basename::dirname($path));
		open(my $handle, '>', $path) or die "$path: $!";
		print $handle "$content\n";
		close($handle);
	}
	return;
}

# What a server that is started on this machine finds different, if anything.
sub asks
{
	my (%files) = @_;
	machine(%files);
	my $offset = -s $node->logfile;
	$node->restart;
	sql('INSERT INTO placed SELECT max(id) + 1 FROM placed');
	wait_for('the worker', sub { mirrored('placed') || log_since($offset) =~ /nothing is mirrored: this server runs at .*\(not the same: (.*)\)/ });
	my ($difference) = log_since($offset) =~ /nothing is mirrored: this server runs at .*\(not the same: (.*)\)/;
	return $difference // '';
}

# Nothing is known any more of the machine that it ran on.
sub moves_to
{
	asks(@_);
	sql("SELECT mixpeek.adopt(); UPDATE mixpeek.origin SET instance = substring(instance FROM '^[^ ]*')");
	return;
}

SKIP:
{
	skip 'there is no library to which other machines can be shown (test/run builds one)', 1 unless $ENV{MIXPEEK_WEAK};
	require File::Path;
	require File::Basename;
	$api->faults();
	$api->reset(documents => 1);
	$node = new_node('placed', install_path => $ENV{MIXPEEK_WEAK});
	$node->append_conf('postgresql.conf', "mixpeek.root = '$root'\n");
	my $disk = 'sys/dev/block/DEVICE';
	my %vm = (
		'etc/machine-id' => 'a' x 32, "$disk/serial" => 'vol-1', "$disk/dm/uuid" => 'LVM-one',
		'proc/sys/kernel/random/boot_id' => 'boot 1',
		'sys/class/net/eth0/device/vendor' => 'x', 'sys/class/net/eth0/address' => '52:54:00:00:00:01', 'sys/class/net/eth0/addr_assign_type' => 0);
	my %pod = (
		'run/.containerenv' => '', 'var/run/secrets/kubernetes.io/serviceaccount/namespace' => 'production',
		'etc/machine-id' => 'a' x 32, "$disk/serial" => 'vol-1', 'proc/sys/kernel/random/boot_id' => 'boot 1');
	machine();
	$node->start;
	sql('CREATE EXTENSION mixpeek_docs');
	create_server($node, 'mixpeek', $api, request_timeout => 2);
	sql("CREATE TABLE placed (id int PRIMARY KEY); INSERT INTO placed VALUES (1); SELECT mixpeek.mirror('placed', 'placed')");
	wait_for('the table', sub { mirrored('placed') });

	# go on without being asked
	sql("UPDATE mixpeek.origin SET instance = substring(instance FROM '^[^ ]*')");
	is(asks(%vm), '', 'a place as 1.0 has noted it goes on');
	like(sql('SELECT instance FROM mixpeek.origin'), qr/^\S+:\d+ volume=\S+ disk=\S+ boot=\S+ dev=\S+ machine=\S+ net=\S+$/, 'the place is noted as it is known now');
	unlike(sql('SELECT instance FROM mixpeek.origin'), qr/52:54|aaaa|vol-1|LVM/, 'the place that is noted has no address, id or serial number in plain');
	is(asks(%vm, 'proc/sys/kernel/random/boot_id' => 'boot 2'), '', 'goes on: a reboot');
	is(asks(%vm, 'sys/class/net/eth1/device/vendor' => 'x', 'sys/class/net/eth1/address' => '52:54:00:00:00:02'), '', 'goes on: one more network interface');
	is(asks(%vm, 'sys/class/net/eth0/address' => '52:54:00:00:00:09', 'sys/class/net/eth1/device/vendor' => 'x', 'sys/class/net/eth1/address' => '52:54:00:00:00:02'), '', 'goes on: one of two network interfaces is replaced');
	is(asks(%vm, 'sys/class/net/eth0/address' => '52:54:00:00:00:09', 'sys/class/net/docker0/address' => '02:42:00:00:00:01'), '', 'goes on: one more network interface that is not hardware');
	is(asks(map { $_ => $vm{$_} } grep { !/net|machine-id/ } keys %vm), '', 'goes on: interfaces and machine-id that cannot be seen any more');
	my %now = (%vm, 'sys/class/net/eth0/address' => '52:54:00:00:00:09');
	is(asks(%now), '', 'goes on: interfaces and machine-id that can be seen again');
	is(asks(%now, "$disk/slaves/sda/serial" => 'vol-1', "$disk/slaves/sdb/serial" => 'vol-2'), '', 'goes on: a volume that is extended to another disk');
	is(asks(%now, "$disk/slaves/sdb/serial" => 'vol-2'), '', 'goes on: a volume that has left its first disk');
	is(asks(%now, "$disk/slaves/crypt/dm/uuid" => 'CRYPT', "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-2'), '', 'goes on: a volume on one more layer');
	is(asks(%now, "$disk/slaves/crypt/dm/uuid" => 'CRYPT', "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-2', 'sys/class/dmi/id/board_asset_tag' => 'i-1'), '', 'goes on: a machine that now has an instance id');

	# ask
	my %last = (%now, "$disk/slaves/crypt/dm/uuid" => 'CRYPT', "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-2', 'sys/class/dmi/id/board_asset_tag' => 'i-1');
	my $creates = $api->stats->{creates};
	is(asks(%last, "$disk/dm/uuid" => 'LVM-snapshot'), 'the volume', 'stops: a snapshot of the volume');
	is(asks(%last, "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-3'), 'the disk', 'stops: a clone of the disk');
	is(asks(%last, "$disk/slaves/crypt/dm/uuid" => 'CRYPT-2'), 'the volume', 'stops: a clone of a layer below the volume');
	is(asks(%last, 'sys/class/net/eth0/address' => '52:54:00:00:00:77'), 'the network interfaces', 'stops: other addresses of the network interfaces');
	is(asks(%last, 'etc/machine-id' => 'b' x 32), "the machine's id", 'stops: another machine-id');
	is(asks(%last, 'sys/class/dmi/id/board_asset_tag' => 'i-2'), 'the machine', 'stops: another instance id');
	is($api->stats->{creates}, $creates, 'nothing is sent from a place that is not the same');
	is(asks(%last), '', 'goes on: the original after its clones');

	# containers
	moves_to(%pod);
	is(asks(%pod), '', 'goes on: a pod');
	unlike(sql('SELECT instance FROM mixpeek.origin'), qr/machine=/, "the place of a pod does not have its host's machine-id");
	is(asks(%pod, 'etc/machine-id' => 'c' x 32, 'proc/sys/kernel/random/boot_id' => 'boot 7', 'sys/class/net/eth0/device/vendor' => 'x',
		'sys/class/net/eth0/address' => '52:54:00:00:00:31', 'sys/class/dmi/id/board_asset_tag' => 'i-9'), '', 'goes on: a pod that is moved to another host with its volume');
	is(asks(%pod, 'var/run/secrets/kubernetes.io/serviceaccount/namespace' => 'staging'), 'the Kubernetes namespace', 'stops: a pod in another namespace');
	my %resolver = map { $_ => $pod{$_} } grep { !/namespace/ } keys %pod;
	is(asks(%resolver, 'etc/resolv.conf' => "nameserver 10.0.0.1\nsearch staging.svc.cluster.local svc.cluster.local"), 'the Kubernetes namespace', 'stops: a pod in another namespace, known from resolv.conf only');
	is(asks(%resolver, 'etc/resolv.conf' => "nameserver 10.0.0.1\nsearch production.svc.cluster.local svc.cluster.local"), '', 'goes on: a pod in its namespace, known from resolv.conf only');
	is(asks(%pod, "$disk/serial" => 'vol-5'), 'the disk', 'stops: a pod on a clone of its volume');
	my %rbd = (%pod, "$disk/device/pool" => 'p', "$disk/device/name" => 'csi-vol-1');
	is(asks(%rbd), 'the disk', 'stops: a pod on an RBD image');
	sql('SELECT mixpeek.adopt()');
	is(asks(%rbd, "$disk/device/name" => 'csi-vol-2'), 'the disk', 'stops: a pod on another RBD image');

	# Nothing is known but the device
	my %bare = ('proc/sys/kernel/random/boot_id' => 'boot 1');
	moves_to(%bare);
	is(asks(%bare), '', 'goes on: a machine of which nothing is known');
	sql("UPDATE mixpeek.origin SET instance = regexp_replace(instance, 'dev=\\S+', 'dev=999:1')");
	is(asks(%bare), 'the device', 'stops: a machine of which nothing is known, with another device in the same boot');
	is(asks('proc/sys/kernel/random/boot_id' => 'boot 2'), '', 'goes on: a machine of which nothing is known, with another device after a reboot');

	# mixpeek.instance is stronger
	$node->append_conf('postgresql.conf', "mixpeek.instance = 'the one'\n");
	is(asks(%vm), 'its name', 'stops: mixpeek.instance is set');
	sql('SELECT mixpeek.adopt()');
	is(asks(%pod), '', 'goes on: the same mixpeek.instance anywhere else');
	is(sql('SELECT instance FROM mixpeek.origin'), 'the one', 'mixpeek.instance is noted as it is');
	$node->stop;
}

done_testing();
