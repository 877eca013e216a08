# Whether a large backlog is worked off as fast as a small one, and what a transaction that is held open
# all the while does to it: its snapshot keeps every dead row from being cleared away. In turns, after a
# large one that is not counted: memory and files that nobody has used yet cost the first one some 10 %.
package Question::Backlog;
use strict;
use warnings;
use utf8;
use Time::HiRes qw(time);

# Documents a second over all, and in each of 20 parts, as points; microseconds of the worker's CPU a document.
sub backlog
{
	my ($bench, $rows, $held) = @_;
	my $holder;
	my @parts;
	my ($part, $last, $last_at) = (1, 0);
	my $pid = $bench->worker_pid;
	my $cpu = Bench::cpu($pid);

	if ($held)
	{
		$holder = $bench->new_session;
		$holder->do('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()');
	}
	$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $rows) ]}");
	my $begin = $last_at = time;
	$bench->wait_for_documents($rows, 'creates', sub {
		my ($now) = @_;
		return if $now < $rows * $part / 20;
		my $time = time;
		push @parts, [ $now, ($now - $last) / ($time - $last_at) ];
		($last, $last_at) = ($now, $time);
		$part++ while $now >= $rows * $part / 20;
	});
	my $rate = $rows / (time - $begin);
	$cpu = (Bench::cpu($pid) - $cpu) * 1e6 / $rows;
	$holder->do('ROLLBACK') if $holder;
	$bench->clear('items');
	return ($rate, \@parts, $cpu);
}

return {
	title => 'A backlog of 10,000 against 1,000,000, and with a transaction held open',
	run => sub {
		my ($bench, $report) = @_;
		my ($few, $many) = ($bench->size(10_000), $bench->size(1_000_000));
		my (@small, @small_cpu, %ratio, %rate, %cpu, %parts);
		# Documents a second, the median of three, and CPU of 10,000.
		my $small = sub {
			my @runs = map { [ backlog($bench, $few) ] } 1 .. 3;
			push @small, my $rate = Bench::median(map { $_->[0] } @runs);
			push @small_cpu, Bench::median(map { $_->[2] } @runs);
			return $rate;
		};

		$bench->start(api => [qw(--bodies off)]);
		$bench->create_mirrored('items');
		backlog($bench, $many);
		my $before = $small->();
		foreach my $held (map { (0, 1) } 1 .. $bench->runs(3))
		{
			my ($rate, $parts, $cpu) = backlog($bench, $many, $held);
			my $after = $small->();

			push @{ $ratio{$held} }, 2 * $rate / ($before + $after);
			push @{ $rate{$held} }, $rate;
			push @{ $cpu{$held} }, $cpu;
			$parts{$held} = $parts;
			$before = $after;
		}
		my ($large, $held) = map { Bench::median(@{ $rate{$_} }) } 0, 1;
		my ($ratio, $held_ratio) = map { Bench::median(@{ $ratio{$_} }) } 0, 1;
		my ($large_cpu, $held_cpu) = map { Bench::median(@{ $cpu{$_} }) } 0, 1;
		my ($parts, $held_parts) = @parts{0, 1};
		my $base = Bench::median(@small);
		my $base_cpu = Bench::median(@small_cpu);
		my $tail = Bench::median(map { $_->[1] } @$parts[-5 .. -1]) / Bench::median(map { $_->[1] } @$parts[0 .. 4])
			if @$parts >= 10;

		$report->row("backlog of $few", $base, sprintf('%.0f a second, CPU %.1f µs a document', $base, $base_cpu));
		$report->row("backlog of $many", $ratio, sprintf('%.0f a second: %+.0f %%, CPU %.1f µs', $large,
			100 * ($ratio - 1), $large_cpu), target => 'within 10 %', met => $ratio >= 0.9);
		$report->row('its last quarter to its first', $tail, sprintf('%+.0f %%', 100 * ($tail - 1))) if defined $tail;
		$report->row('the same with a transaction held open', $held_ratio,
			sprintf('%.0f a second: %+.0f %%, CPU %.1f µs', $held, 100 * ($held_ratio - 1), $held_cpu),
			target => 'within 20 %', met => $held_ratio >= 0.8);
		$report->lines(x => 'documents', y => 'documents a second',
			lines => [ [ 'backlog', $parts, 'ours' ], [ 'with a transaction held open', $held_parts, 'other' ] ]);
	},
};
