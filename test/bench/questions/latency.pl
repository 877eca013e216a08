# The time from COMMIT to the stored id where nothing else goes on: a session inserts a row, commits, and
# looks for the id every 100 microseconds. What the server needs itself is taken from the raw client with one
# connection. 5 to 15 ms of quiet between two rows.
package Question::Latency;
use strict;
use warnings;
use utf8;

return {
	title => 'Time from COMMIT to stored id when idle',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(1_000);

		$bench->start;
		$bench->create_mirrored('items');
		my $session = $bench->session;
		$session->do($Bench::measure_latency);
		$session->do('CALL measure(-20, -1)');
		$session->do('TRUNCATE latencies');
		my $raw = $bench->curl_multi(connections => 1, requests => $bench->size(5_000),
			body => $bench->body_file('items'));
		$session->do("CALL measure(1, $rows)");
		my @latencies = $session->do('SELECT us FROM latencies');
		my ($median, $p99) = map { $_ / 1000 } Bench::median(@latencies), Bench::quantile(0.99, @latencies);
		my ($raw_median, $raw_p99) = ($raw->{latency} / 1000, $raw->{p99} / 1000);
		my ($over, $over_p99) = ($median - $raw_median, $p99 - $raw_median);

		$report->row("the server's own, median", $raw_median, sprintf('%.2f ms', $raw_median));
		$report->row("the server's own, p99", $raw_p99, sprintf('%.2f ms', $raw_p99));
		$report->row('mixpeek_docs, median', $over, sprintf('%.2f ms: +%.2f ms', $median, $over),
			target => 'at most +2 ms', met => $over <= 2);
		$report->row('mixpeek_docs, p99', $over_p99, sprintf('%.2f ms: +%.2f ms', $p99, $over_p99),
			target => 'at most +5 ms', met => $over_p99 <= 5);
		$report->bars(unit => 'ms', target => [ $raw_median + 2, 'median to reach' ], bars => [
			[ "the server's own, median", $raw_median, 'ceiling' ], [ "the server's own, p99", $raw_p99, 'ceiling' ],
			[ 'mixpeek_docs, median', $median, 'ours' ], [ 'mixpeek_docs, p99', $p99, 'ours' ] ]);
	},
};
