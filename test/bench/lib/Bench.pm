# What the questions of the benchmark share: a PostgreSQL with the extension, sessions, the local Mixpeek
# server, the raw libcurl client, medians. Only Perl's own modules.
#
#   my $bench = Bench->new;
#   $bench->start(pg_net => 1);                     cluster, database, local server, foreign server
#   my $session = $bench->session;
#   my $seconds = $session->seconds('INSERT ...');
#
# Programs are found in PATH, and all files are in $ENV{BENCH_WORK}.
package Bench;
use strict;
use warnings;
use Bench::Api;
use Bench::Session;
use List::Util ();
use POSIX ();
use Time::HiRes qw(sleep time);

# A procedure measure(first, last), which inserts rows into items and notes in the table latencies how many microseconds
# it took from COMMIT to the stored id, with 5 to 15 ms of quiet between two rows.
our $measure_latency = q{
	CREATE FUNCTION bench_sleep(integer) RETURNS void AS '$libdir/mixpeek_bench' LANGUAGE C;
	CREATE TABLE latencies (us double precision);
	CREATE PROCEDURE measure(first integer, last integer) LANGUAGE plpgsql AS $$
	DECLARE
		began timestamptz;
	BEGIN
		FOR i IN first .. last LOOP
			INSERT INTO items VALUES (i, 1, 'Product', 'libs', 12.5, 42, true, repeat('text ', 60), now());
			COMMIT;
			began := clock_timestamp();
			LOOP
				EXIT WHEN EXISTS (SELECT FROM mixpeek.documents WHERE relation = 'items'::regclass
					AND collection = 'bench' AND key = i::text AND document_id IS NOT NULL);
				PERFORM bench_sleep(100);
			END LOOP;
			INSERT INTO latencies VALUES (extract(epoch FROM clock_timestamp() - began) * 1e6);
			COMMIT;
			PERFORM bench_sleep(5000 + (random() * 10000)::integer);
		END LOOP;
	END $$};

# Sizes are multiplied by scale; runs is the number that was asked for, or undef.
sub new
{
	my ($class) = @_;
	my $self = { work => $ENV{BENCH_WORK}, scale => $ENV{SCALE} || 1, runs => $ENV{RUNS} || undef };

	chomp($self->{sharedir} = `pg_config --sharedir`);
	return bless $self, $class;
}

sub work { return $_[0]{work} }
sub api { return $_[0]{api} }

# So many, scaled.
sub size
{
	my ($self, $size) = @_;
	return POSIX::ceil($size * $self->{scale});
}

# How many runs: as asked for, or the question's own number.
sub runs
{
	my ($self, $runs) = @_;
	return $self->{runs} // $runs;
}

# Whether PostgreSQL has that extension.
sub has
{
	my ($self, $extension) = @_;
	return -f "$self->{sharedir}/extension/$extension.control";
}

# Where and with what it is measured, as pairs of name and text.
sub machine
{
	my ($self) = @_;
	my ($cpu) = slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)/m;
	my ($memory) = slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	my $cores = () = slurp('/proc/cpuinfo') =~ /^processor/mg;
	my ($os) = (-f '/etc/os-release' ? slurp('/etc/os-release') : '') =~ /^PRETTY_NAME="(.*)"/m;
	my ($postgres) = `postgres --version` =~ /([\d.]+)/;
	my ($curl) = `curl-config --version` =~ /([\d.]+)/;

	return [
		machine => (POSIX::uname())[1],
		processor => sprintf('%s, %d cores, %.0f GB', $cpu // 'unknown', $cores, $memory / 1024 / 1024),
		system => join(' ', $os // (), 'Linux', (POSIX::uname())[2]),
		versions => "PostgreSQL $postgres, libcurl $curl",
		date => POSIX::strftime('%Y-%m-%d', gmtime),
		scale => $self->{scale},
	];
}

sub slurp
{
	my ($path) = @_;
	open(my $in, '<', $path) or return '';
	local $/;
	return scalar(<$in>) // '';
}

#
# The cluster
#

# PostgreSQL's defaults, with room so that no checkpoint falls into one run and not into another. WAL files
# are kept and used again, as on a server that has been up for a while: clear() makes the checkpoint.
my %settings = (
	listen_addresses => '',
	shared_buffers => '2GB',
	max_wal_size => '20GB',
	min_wal_size => '20GB',
	checkpoint_timeout => '1h',
	max_connections => 50,
	client_min_messages => 'warning',
);

# start(SETTING => VALUE...): a cluster of its own with the database bench, the extension, the local
# server, and a foreign server for that. pg_net => 1 preloads pg_net as well.
sub start
{
	my ($self, %extra) = @_;
	my $preload = delete $extra{pg_net} ? 'mixpeek_docs,pg_net' : 'mixpeek_docs';
	my $api_options = delete $extra{api} // [];
	my %conf = (%settings, shared_preload_libraries => $preload, unix_socket_directories => $self->{work},
		'pg_net.database_name' => 'bench', %extra);

	$self->{data} = "$self->{work}/data";
	$self->logged(qw(initdb --username=bench --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync -D),
		$self->{data});
	open(my $out, '>>', "$self->{data}/postgresql.conf") or die $!;
	print $out map { "$_ = '$conf{$_}'\n" } grep { !/^pg_net\./ || $preload =~ /pg_net/ } sort keys %conf;
	close $out;
	@ENV{qw(PGHOST PGUSER PGDATABASE)} = ($self->{work}, 'bench', 'bench');
	$self->logged(qw(pg_ctl start --wait --log), "$self->{work}/postgres.log", '-D', $self->{data});
	$self->logged(qw(createdb bench));
	$self->{api} = Bench::Api->new($self->{work}, @$api_options);
	$self->session->do('CREATE EXTENSION mixpeek_docs');
	$self->create_server(64);
	return;
}

sub create_server
{
	my ($self, $connections) = @_;
	my $url = $self->{api}->url;

	$self->session->do("
		DROP SERVER IF EXISTS mixpeek CASCADE;
		CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs
			OPTIONS (base_url '$url', namespace 'default', max_connections '$connections');
		CREATE USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (api_key 'sk_test')");
	return;
}

# Ends what start() began.
sub stop
{
	my ($self) = @_;

	return unless $self->{data};
	delete $self->{session};
	$self->{api}->stop if $self->{api};
	delete $self->{api};
	$self->logged(qw(pg_ctl stop --wait --mode=immediate -D), $self->{data});
	system('rm', '-rf', $self->{data});
	delete $self->{data};
	return;
}

# One session that is kept, for all that is not measured in one of its own.
sub session
{
	my ($self) = @_;
	return $self->{session} //= Bench::Session->new($self->{work});
}

sub new_session { return Bench::Session->new($_[0]{work}) }

sub logged
{
	my ($self, @command) = @_;
	my $log = "$self->{work}/command.log";

	# The shell's redirection, for what the command starts must not keep our pipes open.
	return if system('/bin/sh', '-c', 'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null', 'sh', $log, @command) == 0;
	die "failed: @command\n" . slurp($log);
}

# Pauses the worker or lets it go on.
sub enable
{
	my ($self, $on) = @_;
	my $session = $self->session;

	$session->do('ALTER SYSTEM SET mixpeek.enabled = ' . ($on ? 'on' : 'off'));
	$session->do('SELECT pg_reload_conf()');
	# The postmaster reads it first, and tells the worker.
	sleep(0.2) unless $on;
	return;
}

sub worker_pid
{
	my ($self) = @_;
	return $self->session->value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
}

# Seconds of CPU that a process has used, with all of its threads.
sub cpu
{
	my ($pid) = @_;
	my @times = map { slurp("$_/schedstat") =~ /^(\d+) / } glob("/proc/$pid/task/*");

	return List::Util::sum(@times) / 1e9 if @times;
	my @fields = split ' ', (slurp("/proc/$pid/stat") =~ s/^.*\) //r);
	return ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Seconds of CPU that a process' children that have ended used.
sub children_cpu
{
	my ($pid) = @_;
	my @fields = split ' ', (slurp("/proc/$pid/stat") =~ s/^.*\) //r);
	return ($fields[13] + $fields[14]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Until the backends of clients that have left have ended and been counted.
sub wait_for_clients
{
	my ($self) = @_;
	my $ours = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
		AND application_name = 'pgbench'";

	sleep(0.01) while $self->session->value($ours) > 0;
	sleep(0.05);
	return;
}

sub postmaster_pid
{
	my ($self) = @_;
	return (split ' ', slurp("$self->{data}/postmaster.pid"))[0];
}

# A line of /proc/PID/status, in MB.
sub memory
{
	my ($pid, $name) = @_;
	return slurp("/proc/$pid/status") =~ /^$name:\s*(\d+) kB/m ? $1 / 1024 : undef;
}

#
# Mirrored tables
#

# The columns of the benchmark's tables, and a query of so many rows for them. About 1 kB a document.
our $columns = 'id bigint PRIMARY KEY, section_id integer NOT NULL, name text NOT NULL, section text NOT NULL, '
	. 'price numeric(10,2) NOT NULL, stock integer NOT NULL, active boolean NOT NULL, description text NOT NULL, '
	. 'updated_at timestamptz NOT NULL';

sub rows
{
	my ($first, $last) = @_;
	return "SELECT i, i % 1000 + 1, 'Product ' || i, 'libs', i % 10000 / 100.0, i % 500, i % 7 <> 0, "
		. "repeat(md5(i::text) || ' ', 10), '2026-01-01'::timestamptz + i * interval '1 second' "
		. "FROM generate_series($first, $last) i";
}

# A table of that name with a mirror of its own.
sub create_mirrored
{
	my ($self, $table) = @_;

	$self->session->do("CREATE TABLE $table ($columns)");
	$self->mirror($table);
	return;
}

sub mirror
{
	my ($self, $table) = @_;
	$self->session->do("CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON $table
		FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('bench')");
	return;
}

# Back to an empty table, nothing mirrored, no document on the server. The worker must be done.
sub clear
{
	my ($self, @tables) = @_;

	$self->session->do('TRUNCATE ' . join(', ', @tables, 'mixpeek.outbox', 'mixpeek.documents'));
	# The documents are gone, too, so no row needs to be looked up.
	$self->session->do('UPDATE mixpeek.origin SET incomplete = false, written_by = pg_current_xact_id()::text::bigint');
	$self->session->do('CHECKPOINT');
	$self->api->reset;
	return;
}

# Waits until the server has done so many of what counts (creates, updates) since the last reset, and their
# outcome is stored. Dies where nothing moves for a minute.
sub wait_for_documents
{
	my ($self, $number, $counter, $watch) = @_;
	my $last = -1;
	my $moved = time;

	$counter //= 'creates';
	while ((my $now = $self->api->stats->{$counter}) < $number)
	{
		$moved = time if $now != $last;
		die "nothing moves: $now of $number $counter\n" . $self->log_end if time - $moved > 60;
		$last = $now;
		$watch->($now) if $watch;
		sleep($now > 0.95 * $number ? 0.005 : 0.05);
	}
	until ($self->session->value("SELECT NOT EXISTS (SELECT FROM mixpeek.outbox) AND NOT EXISTS
		(SELECT FROM mixpeek.documents WHERE state <> 'mirrored')") eq 't')
	{
		die "not settled\n" . $self->log_end if time - $moved > 120;
		sleep(0.01);
	}
	return;
}

sub log_end
{
	my ($self) = @_;
	return join("\n", (split /\n/, slurp("$self->{work}/postgres.log"))[-20 .. -1]);
}

# The document of a row of that table as it is sent, with @MARKER@ for its marker; in a file for curl_multi.
sub body_file
{
	my ($self, $table) = @_;
	my $body = $self->session->value("SELECT mixpeek.preview('$table', (SELECT id::text FROM $table LIMIT 1),
		'bench')");
	my $file = "$self->{work}/body.json";

	$body =~ s/"mixpeek_docs": *"[^"]*"/"mixpeek_docs":"\@MARKER\@"/ or die "no marker in $body";
	open(my $out, '>:encoding(UTF-8)', $file) or die $!;
	print $out $body;
	close $out;
	return $file;
}

# One run of the raw client: documents a second, microseconds of CPU a request, latency and its p99.
sub curl_multi
{
	my ($self, %option) = @_;
	my $line = join(' ', 'test/bench/curl_multi', $self->api->url, map { "--$_ $option{$_}" } sort keys %option);
	my $said = `$line 2>&1`;

	$said =~ m{: ([\d.]+) requests/s, .* CPU ([\d.]+) us .* latency (\d+) us, p99 (\d+) us, 0 errors}
		or die "$line: $said";
	return { rate => $1, cpu => $2, latency => $3, p99 => $4 };
}

#
# Numbers
#

sub median { return quantile(0.5, @_) }

sub quantile
{
	my ($part, @values) = @_;
	@values = sort { $a <=> $b } @values;
	my $at = $part * $#values;
	my $below = int $at;
	return $values[$below] if $below == $#values;
	return $values[$below] + ($at - $below) * ($values[ $below + 1 ] - $values[$below]);
}

1;
