# The worker's memory over many documents of 10 kB: what of it is its own (RssAnon; the rest are libraries, and
# shared buffers it has touched). The text compresses well, so that the table needs no 10 GB of disk.
package Question::Memory;
use strict;
use warnings;
use utf8;
use Time::HiRes qw(time);

return {
	title => 'Memory of the worker over 1,000,000 documents of 10 kB',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(1_000_000);
		my $next = 0;
		my @points;

		$bench->start(api => [qw(--bodies off)]);
		$bench->session->do("CREATE TABLE items (id bigint PRIMARY KEY, text text NOT NULL)");
		$bench->mirror('items');
		my $pid = $bench->worker_pid;
		my ($start, $start_rss) = map { Bench::memory($pid, $_) } qw(RssAnon VmRSS);
		push @points, [ 0, $start ];
		$bench->session->do("INSERT INTO items SELECT i, repeat(md5(i::text), 310) FROM generate_series(1, $rows) i");
		my $begin = time;
		$bench->wait_for_documents($rows, 'creates', sub {
			my ($now) = @_;
			my $memory = Bench::memory($pid, 'RssAnon');
			if (@points == 1 || $now >= $next)
			{
				push @points, [ $now, $memory ];
				$next = $now + $rows / 100;
			}
			# the highest of each part
			$points[-1][1] = $memory if $memory > $points[-1][1];
		});
		my $rate = $rows / (time - $begin);
		die 'the worker was started anew' if $bench->worker_pid != $pid;
		my ($end, $rss, $peak) = map { Bench::memory($pid, $_) } qw(RssAnon VmRSS VmHWM);
		my ($highest) = sort { $b <=> $a } map { $_->[1] } @points;
		my $growth = $highest - $start;
		my @half = map { $_->[1] } @points[ @points / 2 .. $#points ];
		my @first = map { $_->[1] } @points[ 1 .. @points / 2 ];
		my $later = Bench::median(@half) - Bench::median(@first);

		$report->row('at its start', $start, sprintf('%.1f MB of its own (%.1f MB with shared buffers)', $start,
			$start_rss));
		$report->row('highest over its start', $growth, sprintf('+%.1f MB of its own', $growth),
			target => 'at most +64 MB', met => $growth <= 64);
		$report->row('second half over the first', $later, sprintf('%+.1f MB', $later), target => 'flat',
			met => $later <= 2);
		$report->row('at the end', $end, sprintf('%.1f MB of its own (%.1f MB with shared buffers)', $end, $rss));
		$report->row('documents of 10 kB a second', $rate, sprintf('%.0f', $rate));
		$report->lines(x => 'documents', y => 'MB (RssAnon)', target => [ $start + 64, 'to reach' ],
			lines => [ [ 'worker', \@points, 'ours' ] ]);
	},
};
