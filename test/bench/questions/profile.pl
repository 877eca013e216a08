# Where the worker's time goes: CPU per document by step. perf takes a picture of the worker's stack some
# hundred times a second while it works a backlog off; a picture belongs to the innermost function of ours
# in it, and so to that function's file, or to what it is in the middle of (hash, commit).
package Question::Profile;
use strict;
use warnings;
use utf8;
use POSIX ();
use Time::HiRes qw(sleep);

my @steps = (
	[ claim => 'claim: keys leave the outbox' ],
	[ read => 'read: rows by key' ],
	[ render => 'render: template to text' ],
	[ hash => 'hash: SHA-256 of the content' ],
	[ intent => 'intent: into mixpeek.documents' ],
	[ commit => 'commit, and its flush' ],
	[ curl => 'curl: libcurl and sockets, most of it in the thread' ],
	[ parse => 'parse: the answer' ],
	[ settle => 'settle: into mixpeek.documents' ],
	[ other => 'everything else' ],
);
my %step_of_file = (
	'outbox' => 'claim', 'claim' => 'claim', 'mirror' => 'read', 'key' => 'read', 'template' => 'render',
	'documents' => 'intent',
	'http' => 'curl', 'engine' => 'curl', 'response' => 'parse', 'json' => 'parse', 'job' => 'parse',
);

# Which of our files a function is in.
sub files_of_functions
{
	my %file;

	foreach my $object (glob('src/*/*.o'))
	{
		my ($name) = $object =~ m{(\w+)\.o$};
		foreach my $line (`nm --defined-only $object`)
		{
			$file{$1} = $name if $line =~ / [tT] (\w+)/;
		}
	}
	return \%file;
}

# The step of one stack, innermost function first.
sub step_of
{
	my ($files, @stack) = @_;
	my $within = '';

	foreach my $frame (@stack)
	{
		my ($function, $library) = @$frame;

		$within ||= 'hash' if $function =~ /^pg_cryptohash_/;
		$within ||= 'commit' if $function =~ /^(?:CommitTransactionCommand|SPI_commit)$/;
		$within ||= 'parse' if $function =~ /^jsonb?_in$/;
		next unless $library =~ /mixpeek_docs/;
		return 'settle' if $function =~ /settle/;
		my $file = $files->{ $function =~ s/\..*//r } or next;
		return $within if $within && $file ne 'template';
		next if $file =~ /^(?:query|guard|line)$/;
		return 'settle' if $file eq 'document' && grep { $_->[0] =~ /^document_settle/ } @stack;
		return $step_of_file{$file} if $step_of_file{$file};
		return $library =~ /libcurl/ ? 'curl' : 'other';
	}
	return $within || 'other';
}

# How many pictures each step has.
sub count
{
	my ($data) = @_;
	my $files = files_of_functions();
	my (%count, @stack);

	open(my $script, '-|', "perf script --no-inline -F ip,sym,dso -i $data 2>/dev/null") or die $!;
	while (my $line = <$script>)
	{
		if ($line =~ /^\s+[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$/)
		{
			push @stack, [ $1, $2 ];
		}
		elsif (@stack)
		{
			$count{ step_of($files, @stack) }++;
			@stack = ();
		}
	}
	close $script;
	$count{ step_of($files, @stack) }++ if @stack;
	return \%count;
}

return {
	title => "The worker's CPU per document by step",
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(100_000);
		my $data = $bench->work . '/perf.data';

		if (system('perf version >/dev/null 2>&1') != 0)
		{
			$report->row('perf', undef, 'missing: not installed');
			return;
		}
		$bench->start;
		$bench->create_mirrored('items');
		$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $rows) ]}");
		$bench->wait_for_documents($rows);
		$bench->clear('items');
		my $pid = $bench->worker_pid;
		my $perf = fork // die $!;
		if ($perf == 0)
		{
			open(STDERR, '>', $bench->work . '/perf.log');
			open(STDOUT, '>&', \*STDERR);
			exec(qw(perf record -e cpu-clock -F 499 --call-graph), 'dwarf,16384', '-o', $data, '-p', $pid)
				or POSIX::_exit(1);
		}
		sleep(1);
		my $cpu = Bench::cpu($pid);
		$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $rows) ]}");
		$bench->wait_for_documents($rows);
		$cpu = (Bench::cpu($pid) - $cpu) * 1e6 / $rows;
		kill 'INT', $perf;
		waitpid($perf, 0);
		my $count = count($data);
		unlink $data;
		my $pictures = 0;
		$pictures += $_ foreach values %$count;
		if ($pictures == 0)
		{
			$report->row('perf', undef, 'not permitted here');
			return;
		}
		my @bars = map { [ $_->[1], $cpu * ($count->{ $_->[0] } // 0) / $pictures ] } @steps;
		$report->row($_->[0], $_->[1], sprintf('%.1f µs', $_->[1])) foreach @bars;
		$report->row('all', $cpu, sprintf('%.1f µs a document, from %d pictures of the stack', $cpu, $pictures));
		$report->bars(unit => 'µs of CPU a document', bars => [ map { [ @$_, 'ours' ] } @bars ]);
	},
};
